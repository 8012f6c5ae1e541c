# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Which peaks are added to the footprints of a catalogue, dropped from them, or moved."""

from __future__ import annotations

__all__ = ("PeakEditConfig",)

from lsst.pex.config import Config, Field, RangeField

from ..peak_matching import LIKELY


class PeakEditConfig(Config):
    """What becomes of the peaks of a catalogue.

    By default they are annotated and nothing else.  The limits are those of
    Rubin's deblender, as of 2026, and of what it was seen to bear.
    """

    doAddPeaks: Field[bool] = Field(
        doc="Add inferred peaks to the footprints of the catalogue?", dtype=bool, default=False
    )
    minAddProbability = RangeField(
        doc="Only inferred peaks of a larger probability are added.  Of those over the default nine in ten "
        "or more are galaxies, for each size of galaxies that was simulated.",
        dtype=float,
        default=LIKELY,
        min=0.0,
        max=1.0,
    )
    minSeparation = RangeField(
        doc="Only inferred peaks that lie at least this far from every other peak are added [pixel]: on or "
        "next to a peak the flux is split evenly between the two.",
        dtype=float,
        default=3.0,
        min=0.0,
    )
    minAddSignificance = RangeField(
        doc="Only inferred peaks with at least this point-source S/N of the coadd at their pixel are added: "
        "where there is no light the fit of the deblender can diverge, and takes the real objects along.",
        dtype=float,
        default=5.0,
        min=0.0,
    )
    doDropPeaks: Field[bool] = Field(
        doc="Drop peaks of small probability from the footprints of the catalogue? The most probable one of "
        "a footprint always stays.",
        dtype=bool,
        default=False,
    )
    maxDropProbability = RangeField(
        doc="Peaks of a smaller probability are dropped.", dtype=float, default=0.1, min=0.0, max=1.0
    )
    doMovePeaks: Field[bool] = Field(
        doc="Move a detected peak onto the place that its galaxy was inferred at when a peak is added closer "
        "than moveRadius? The one peak of two close galaxies lies between them. It keeps its id. Not onto a "
        "place with another probable peak closer than minSeparation.",
        dtype=bool,
        default=False,
    )
    moveRadius = RangeField(
        doc="Detected peaks that are closer than this to an added one are moved [pixel].",
        dtype=float,
        default=6.0,
        min=0.0,
    )
    maxPeaks = RangeField(
        doc="Footprints with more peaks are left as they are, and none gets more: the deblender skips them "
        "(maxNumberOfPeaks), and their objects would be lost.",
        dtype=int,
        default=600,
        min=1,
    )
    maxFootprintArea = RangeField(
        doc="Footprints whose bounding box has more pixels are left as they are, as the deblender skips them "
        "[pixel^2]; 0 for no limit.",
        dtype=int,
        default=2_000_000,
        min=0,
    )
    maxFootprintSize = RangeField(
        doc="The same for the longer side of the bounding box [pixel]; 0 for no limit.",
        dtype=int,
        default=0,
        min=0,
    )
    maxAreaTimesPeaks = RangeField(
        doc="The same for the pixels of the bounding box times the number of peaks; 0 for no limit.",
        dtype=int,
        default=1_000_000_000,
        min=0,
    )
