# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""SExtractor's deblending as a classifier: a footprint in which it finds two objects is a blend.

The baseline of the literature.  The whole image goes through `sep` (Barbary 2016), with the parameters
of Farrens et al. 2022 (A&A 657, A98, Table 2) by default; the probabilities are the shares of N = 0, 1,
2, ... that were seen in training among footprints with as many objects.
"""

from __future__ import annotations

__all__ = ("SepClassifier", "SepSettings")

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from .._sep import (
    BLENDHUNTER_CONTRAST,
    BLENDHUNTER_LEVELS,
    BLENDHUNTER_THRESHOLD,
    MIN_AREA,
    extract,
    import_sep,
)
from ..footprints import DetectionResult
from ..model_settings import ModelSettings, setting
from ..samples import FootprintSamples, SceneContext
from .base import classifier_registry
from .peaks import CountTableClassifier, CountTableSettings

_SUB_OBJECTS = 1 << 16
"""At a low threshold whole groups of galaxies are one object at first, which has many parts."""


@dataclass(frozen=True, kw_only=True)
class SepSettings(CountTableSettings):
    """Settings of `SepClassifier`."""

    threshold: float = setting(
        BLENDHUNTER_THRESHOLD,
        "Detection threshold per pixel, in units of the noise of a pixel (DETECT_THRESH).",
        more_than=0.0,
    )
    min_area: int = setting(MIN_AREA, "Least number of pixels of an object (DETECT_MINAREA).", at_least=1)
    deblend_levels: int = setting(
        BLENDHUNTER_LEVELS, "Number of deblending levels (DEBLEND_NTHRESH).", at_least=1
    )
    deblend_contrast: float = setting(
        BLENDHUNTER_CONTRAST,
        "Least share of the flux for an object to be split (DEBLEND_MINCONT); 1 for no deblending.",
        at_least=0.0,
        at_most=1.0,
    )


@registerConfigurable("sep", classifier_registry)
class SepClassifier(CountTableClassifier):
    """P(N) from the number of objects that SExtractor finds.

    Parameters
    ----------
    *args, **kwargs
        As of `.base.BlendClassifier`.

    Notes
    -----
    The noise is that of the footprints (`DetectionResult.noise`), and the background that of the image
    that they were found in.  An object belongs to the footprint that its position lies in; one outside
    of all footprints counts nowhere.
    """

    SettingsClass: ClassVar[type[ModelSettings]] = SepSettings
    name: ClassVar[str] = "sep"

    def count(self, samples: FootprintSamples) -> np.ndarray:
        """Count the objects.

        Parameters
        ----------
        samples
            The n footprints.

        Returns
        -------
        counts : `numpy.ndarray`, shape (n,), int64
            Number of objects in each.

        Raises
        ------
        MissingSepError
            Raised if SEP is not installed.
        """
        import_sep()
        settings: SepSettings = self.settings

        def count(result: DetectionResult, _context: SceneContext) -> np.ndarray:
            labels = result.footprints.labels
            if not len(result.footprints):
                return np.zeros(0, dtype=np.int64)
            objects = extract(
                result.image,
                settings.threshold,
                noise=result.noise.sigma,
                min_area=settings.min_area,
                levels=settings.deblend_levels,
                contrast=settings.deblend_contrast,
                sub_objects=_SUB_OBJECTS,
                pixels=max(result.image.size, 1),
            )
            x, y = (
                np.clip(np.rint(objects[name]).astype(np.int64), 0, size - 1)
                for name, size in (("x", labels.shape[1]), ("y", labels.shape[0]))
            )
            return np.bincount(labels[y, x], minlength=len(result.footprints) + 1)[1:]

        return samples.compute(("sep", settings), count, np.zeros(0, dtype=np.int64))

    def check_fit(self, *, goes_on: bool = False) -> None:
        import_sep()

    def prepare(self, samples: FootprintSamples) -> bool:
        self.count(samples)
        return True
