# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The table of what is in a simulated coadd."""

from __future__ import annotations

__all__ = ("make_truth_table",)

import astropy.units as u
import numpy as np
from astropy.table import Table

from lsst.images import XY, Box, SkyProjection, TractFrame

from ..catalogs._columns import FILTERS

_COLUMNS = {
    "x": (u.pix, "Column of the centre, parent pixels."),
    "y": (u.pix, "Row of the centre, parent pixels."),
    "ra": (u.deg, "Right ascension, ICRS."),
    "dec": (u.deg, "Declination, ICRS."),
    "mag": (u.ABmag, "AB magnitude in the band, lensed."),
    "flux": (u.nJy, "Flux in the band, lensed."),
    "snr": (None, "Matched-filter S/N of a point source of that flux, sky noise only."),
    "is_star": (None, "Whether it is a point source."),
    "half_light_radius": (u.arcsec, "Circularised half-light radius, before lensing."),
    "disc_radius": (u.arcsec, "Circularised half-light radius of the disc."),
    "bulge_radius": (u.arcsec, "Circularised half-light radius of the bulge."),
    "axis_ratio": (None, "Minor over major axis of the disc."),
    "bulge_axis_ratio": (None, "Minor over major axis of the bulge."),
    "position_angle": (u.deg, "Of the major axis, counter-clockwise from the x axis."),
    "bulge_fraction": (None, "Share of the bulge in the flux."),
    "redshift": (None, "Redshift; 0 for stars."),
    "gamma1": (None, "Shear along the x axis."),
    "gamma2": (None, "Shear along the diagonal x = y."),
    "kappa": (None, "Convergence."),
    "n_knots": (None, "Number of knots in the disc; they are not objects."),
    "knot_fraction": (None, "Share of the knots in the flux of the disc."),
    **{f"mag_{name}": (u.ABmag, f"AB magnitude in {name}, before lensing.") for name in FILTERS},
}
_INTEGER = {"n_knots": np.int32}
_DOUBLE = ("x", "y", "ra", "dec")


def make_truth_table(
    galaxies: Table, bbox: Box, sky_projection: SkyProjection[TractFrame], snr_per_flux: np.ndarray
) -> Table:
    """Make the truth table of an image.

    Parameters
    ----------
    galaxies
        Table of `~lsst.meas.blendid.simulation.catalogs.galaxies.observe`, positions relative to the first
        pixel of the image.
    bbox
        Bounding box of the image.
    sky_projection
        Projection of the tract.
    snr_per_flux
        S/N of a point source of 1 nJy at each galaxy, shape (n,).

    Returns
    -------
    truth
        A row per galaxy; see `~lsst.meas.blendid.simulation.coadds.coadd.simulate_patch`.
    """
    x = np.asarray(galaxies["x"], dtype=np.float64) + bbox.x.min
    y = np.asarray(galaxies["y"], dtype=np.float64) + bbox.y.min
    # The projection refuses to convert no points.
    sky = sky_projection.pixel_to_sky(XY(x=x, y=y)) if len(x) else None
    flux = np.asarray(galaxies["flux"], dtype=np.float64)
    columns = {name: np.asarray(galaxies[name]) for name in galaxies.colnames}
    columns |= {"x": x, "y": y}
    columns["ra"], columns["dec"] = (x, y) if sky is None else (sky.ra.deg, sky.dec.deg)
    columns["snr"] = flux * snr_per_flux
    truth = Table()
    truth["id"] = columns["id"].astype(np.int64)
    truth["id"].description = "Row of the galaxy in its source; the same in all patches."
    for name, (unit, description) in _COLUMNS.items():
        values = columns[name]
        if name in _INTEGER:
            values = values.astype(_INTEGER[name])
        elif values.dtype != bool:
            values = values.astype(np.float64 if name in _DOUBLE else np.float32)
        truth[name] = values
        truth[name].description = description
        if unit is not None:
            truth[name].unit = unit
    return truth
