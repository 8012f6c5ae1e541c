# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How data are labelled, and how training goes about: what few want to be otherwise."""

from __future__ import annotations

__all__ = ("LabelConfig", "TrainingConfig")

from lsst.pex.config import ChoiceField, Config, Field, ListField, RangeField

from ..calibration import CALIBRATION_METHODS

_CALIBRATIONS = {
    "beta": "Factors of the logarithms of p and of 1 - p, and an offset (Kull et al. 2017).",
    "platt": "A factor and an offset of the logit (Platt 1999).",
    "temperature": "A factor of the logit (Guo et al. 2017).",
    "isotonic": "Any increasing map (Zadrozny & Elkan 2002), of thousands of footprints.",
}


class LabelConfig(Config):
    """How footprints are found and labelled, for training and for scores."""

    snrMin = RangeField(
        doc="Galaxies with a smaller point-source S/N, from the noise of the sky alone, do not count.",
        dtype=float,
        default=5.0,
        min=0.0,
    )
    noise = ChoiceField[str](
        doc="Where footprints take the noise from.  By default what 'blendid run' takes for a coadd that was "
        "given; for simulated skies both to train on, or those of the model that is gone on from, and "
        "clipped to score.",
        dtype=str,
        allowed={
            "clipped": "The pixels, with the background subtracted.",
            "variance": "The variance plane.",
            "both": "Both in turn, so that a model holds for both; for training only.",
        },
        optional=True,
    )
    stampNoise = ListField[float](
        doc="Noise per pixel to add to stamps that have none, each stamp with each; if empty, what their set "
        "names, dealt out to its stamps in turn.",
        dtype=float,
        default=[],
        itemCheck=lambda sigma: sigma > 0.0,
    )
    stampUnit = ChoiceField[str](
        doc="What of stamps is classified.",
        dtype=str,
        allowed={"stamp": "Each as a whole.", "footprint": "The footprints in them, as in coadds."},
        default="stamp",
    )
    coaddDataset = Field[str](
        doc="Dataset type of the coadds of a Butler repository.", dtype=str, default="deep_coadd"
    )
    truthDataset = Field[str](
        doc="Dataset type of the truth tables of a Butler repository; by default that of the coadds with "
        "_truth appended.",
        dtype=str,
        optional=True,
    )


class TrainingConfig(LabelConfig):
    """How a model is trained, apart from its own settings."""

    validationShare = RangeField(
        doc="Scenes to stop early, to calibrate and to score the model on: as many more of simulated ones, "
        "or so many of the given coadds, from four on.",
        dtype=float,
        default=0.2,
        min=0.0,
        max=0.5,
        inclusiveMax=True,
    )
    nFolds = RangeField(
        doc="Folds of sky to cross-validate a classifier with, for its scores, where nothing is held out; 0 "
        "for no such scores.",
        dtype=int,
        default=5,
        min=0,
        max=20,
        inclusiveMax=True,
    )
    calibration = ChoiceField[str](
        doc="How probabilities are calibrated on the validation scenes.",
        dtype=str,
        allowed={"none": "Not at all."} | {name: _CALIBRATIONS[name] for name in CALIBRATION_METHODS},
        default="beta",
    )

    def validate(self) -> None:
        """Refuse one fold, which leaves nothing to learn from."""
        super().validate()
        if self.nFolds == 1:
            raise ValueError("nFolds 1 leaves nothing to learn from; give 2 or more, or 0 for none")
