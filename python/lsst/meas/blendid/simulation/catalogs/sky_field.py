# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The tangent plane of a field on the sky, north up and east left."""

from __future__ import annotations

__all__ = ("SkyField", "check_place", "mean_position")

import dataclasses

import numpy as np

from ..errors import SimulationError

_ARCSEC = np.degrees(1.0) * 3600.0


def check_place(center: tuple[float, float], what: str) -> None:
    """Refuse a right ascension and declination, degrees, that are no place on the sky."""
    ra, dec = center
    if not (np.isfinite(ra) and abs(dec) <= 90.0):
        raise SimulationError(f"{what} must be a place on the sky, not ra {ra:g}, dec {dec:g}")


def mean_position(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float]:
    """Direction of the sum of the unit vectors of points on the sky, degrees."""
    a, d = np.radians(ra), np.radians(dec)
    x, y, z = (np.cos(d) * np.cos(a)).sum(), (np.cos(d) * np.sin(a)).sum(), np.sin(d).sum()
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


@dataclasses.dataclass(frozen=True)
class SkyField:
    """A rectangle of pixels in a gnomonic projection about its middle."""

    center: tuple[float, float]
    """ICRS right ascension and declination of the middle, degrees."""

    size: tuple[int, int]
    """Width and height, pixels."""

    pixel_scale: float
    """Size of a pixel at the middle, arcsec."""

    margin: int = 0
    """Width of the border around the field that belongs to it, pixels."""

    def __post_init__(self) -> None:
        check_place(self.center, "the centre of a field")

    def to_pixels(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project positions in degrees to x and y from the centre of the first pixel, shape (n,).

        NaN on the far half of the sky (Calabretta & Greisen 2002, A&A 395, 1077, sect. 5.1.3).
        """
        ra0, dec0 = np.radians(self.center)
        d, da = np.radians(dec), np.radians(ra) - ra0
        depth = np.sin(d) * np.sin(dec0) + np.cos(d) * np.cos(dec0) * np.cos(da)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.where(depth > 0.0, depth, np.nan)
            east = np.cos(d) * np.sin(da) / depth
            north = (np.sin(d) * np.cos(dec0) - np.cos(d) * np.sin(dec0) * np.cos(da)) / depth
        scale = _ARCSEC / self.pixel_scale
        return 0.5 * (self.size[0] - 1) - east * scale, 0.5 * (self.size[1] - 1) + north * scale

    def contains(self, x: np.ndarray, y: np.ndarray, *, margin: bool = True) -> np.ndarray:
        """Tell which positions, pixels of shape (n,), lie in the field, its border included or not."""
        border = 0.5 + (self.margin if margin else 0)
        return (
            (x >= -border)
            & (x < self.size[0] - 1 + border)
            & (y >= -border)
            & (y < self.size[1] - 1 + border)
        )

    def north_angle(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Direction of north from the y axis towards −x (east) at positions in degrees, radians, shape (n,).

        It is that of the image of a meridian, which is the y axis in the middle of the field only.
        """
        ra0, dec0 = np.radians(self.center)
        d, da = np.radians(dec), np.radians(ra) - ra0
        # Derivatives with dec of the two numerators and of the denominator of to_pixels.
        depth = np.sin(d) * np.sin(dec0) + np.cos(d) * np.cos(dec0) * np.cos(da)
        slope = np.cos(d) * np.sin(dec0) - np.sin(d) * np.cos(dec0) * np.cos(da)
        east, north = np.cos(d) * np.sin(da), np.sin(d) * np.cos(dec0) - np.cos(d) * np.sin(dec0) * np.cos(da)
        to_east = -np.sin(d) * np.sin(da) * depth - east * slope
        to_north = (np.cos(d) * np.cos(dec0) + np.sin(d) * np.sin(dec0) * np.cos(da)) * depth - north * slope
        return np.arctan2(to_east, to_north)

    def bounds(self) -> tuple[float, float, float, float]:
        """Box on the sky that holds the field with its border, degrees.

        Middle and half the width in right ascension (180 if a pole is near), least and greatest declination.
        """
        width, height = (n + 2 * self.margin + 1 for n in self.size)
        corner = 0.5 * np.hypot(width, height) * self.pixel_scale / _ARCSEC
        radius = np.arctan(corner)
        ra, dec = self.center
        top = abs(np.radians(dec)) + radius
        half = 180.0
        if top < 0.5 * np.pi - 1e-9:
            half = float(np.degrees(np.arcsin(min(np.sin(radius) / np.cos(np.radians(dec)), 1.0))))
        reach = float(np.degrees(radius))
        return ra % 360.0, half, max(dec - reach, -90.0), min(dec + reach, 90.0)
