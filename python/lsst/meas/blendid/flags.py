# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The registry of per-footprint flags.

It makes the columns of the footprint table, their descriptions and the page
of the user guide, so that the three cannot disagree.
"""

from __future__ import annotations

__all__ = ("FLAGS", "FlagDefinition", "flag_names")

from dataclasses import dataclass


@dataclass(frozen=True)
class FlagDefinition:
    """One per-footprint flag.

    Parameters
    ----------
    name
        Name without the ``flag_`` prefix of its column.
    description
        What a set flag means, in one sentence.
    blocking
        Whether a footprint with this flag is left unclassified (probabilities
        NaN and the general ``flag`` set); otherwise it is a warning.
    """

    name: str
    description: str
    blocking: bool

    @property
    def column(self) -> str:
        """Name of the table column (`str`)."""
        return f"flag_{self.name}"


FLAGS: tuple[FlagDefinition, ...] = (
    FlagDefinition(
        "edge",
        "The footprint touches the edge of the image, or pixels over the threshold that of the area that "
        "could be searched; it may be cut.",
        blocking=False,
    ),
    FlagDefinition(
        "masked",
        "Pixels over the threshold border on those that were not searched, because they are masked "
        "(excludeMaskPlanes), not finite, or within reach of the smoothing kernel of such pixels; the "
        "footprint may be cut.",
        blocking=False,
    ),
    FlagDefinition(
        "core_missing",
        "The brightest pixel that was searched borders on masked pixels, or on others that are not finite or "
        "within reach of the smoothing kernel of such pixels: what lies there is brighter, its peak is not "
        "known, and there may be none in the table.",
        blocking=True,
    ),
    FlagDefinition(
        "no_data",
        "More than maxMaskedFraction of the footprint's pixels could not be searched: masked, not finite, or "
        "within reach of the smoothing kernel of such pixels or of the edge.",
        blocking=True,
    ),
    FlagDefinition(
        "too_large",
        "The bounding box is larger than the cutout; the classifiers saw only its central part.",
        blocking=False,
    ),
    FlagDefinition(
        "too_many_peaks",
        "The footprint has more than maxPeaks peaks.",
        blocking=True,
    ),
    FlagDefinition(
        "too_many_candidates",
        "The localiser found more than maxInferredPeaks peaks that were not detected; the least probable "
        "ones are not in the table.",
        blocking=False,
    ),
    FlagDefinition(
        "no_localizer",
        "The localiser has no model for the band of the coadd: peaks have no probabilities, and none were "
        "inferred.",
        blocking=False,
    ),
    FlagDefinition(
        "correlated_noise",
        "The noise of the image is correlated beyond maxNoiseCorrelation and was not corrected for: there "
        "are false footprints and peaks, and probabilities are too high.",
        blocking=False,
    ),
    FlagDefinition(
        "profile_mismatch",
        "The most significant peak is bright (S/N of 100 or more) and compact like a star, with more light "
        "in its wings than the PSF has.  A star whose PSF is not that of the image looks like a blend; give "
        "the real one (--psf FILE).",
        blocking=False,
    ),
    FlagDefinition(
        "bright_star",
        "A bright star dominates: the most significant peak has a point-source S/N of 200 or more and is as "
        "sharp as the PSF along both axes, or pixels are saturated.  Its wings, spikes and halo may have "
        "made peaks of their own.",
        blocking=False,
    ),
    FlagDefinition(
        "outside_model_range",
        "The footprint is unlike those that the primary model was trained on (novelty over maxNovelty), or "
        "the coadd's PSF width or depth lies outside the range of that model or of the localiser's, or "
        "footprints are made with other settings.",
        blocking=False,
    ),
    FlagDefinition(
        "other_band",
        "The primary model, or that of the localiser, was trained in other bands than that of the coadd "
        "(allowAnyBand).",
        blocking=False,
    ),
    FlagDefinition(
        "classifier_failed",
        "The primary classifier gave no finite probability.",
        blocking=True,
    ),
)


def flag_names() -> tuple[str, ...]:
    """Names of the flags, without prefix, in the order of the table's columns."""
    return tuple(flag.name for flag in FLAGS)
