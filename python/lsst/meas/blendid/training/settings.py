# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Settings of footprints to train with."""

from __future__ import annotations

__all__ = ("VARIANT_FIELDS", "clipped_footprints", "footprint_settings", "settings_of_image")

from ..footprints import FootprintConfig, adapt_to_image

VARIANT_FIELDS = ("noiseSource", "doSubtractBackground")
"""Settings that a model may hold for in several combinations; all that it was trained with are kept."""


def clipped_footprints() -> FootprintConfig:
    """Make the settings of Buchanan et al. 2022.

    Returns
    -------
    config
        Noise from the clipped variance of the image, estimated background
        subtracted.
    """
    return settings_of_image(has_variance=False)


def settings_of_image(*, has_variance: bool, has_sky: bool | None = None) -> FootprintConfig:
    """Make the settings that ``blendid run`` takes for an image.

    Parameters
    ----------
    has_variance
        Whether the image has a variance plane.
    has_sky
        Whether the sky background may still be in it; by default where it has no variance plane.

    Returns
    -------
    config
        The settings (`.footprints.adapt_to_image`).
    """
    config = FootprintConfig()
    adapt_to_image(config, has_variance=has_variance, has_sky=has_sky)
    return config


def footprint_settings(noise: str = "both") -> list[FootprintConfig]:
    """Make the settings of footprints to train with.

    Parameters
    ----------
    noise
        "clipped" for those that are used with images without variance plane (`clipped_footprints`),
        "variance" for those that are used with coadds that have one, or "both".

    Returns
    -------
    settings
        Settings to deal out to scenes in turn.  Of "both" each twice, since of the scenes of
        `.dial.dial_scenes` every other one is of the same kind.

    Raises
    ------
    ValueError
        Raised for anything else.
    """
    if noise not in ("clipped", "variance", "both"):
        raise ValueError(f"noise is {noise!r}; it can be 'clipped', 'variance' or 'both'")
    clipped, variance = clipped_footprints(), FootprintConfig()
    variance.noiseSource = "variance"
    variance.doSubtractBackground = False
    if noise == "both":
        return [clipped, clipped, variance, variance]
    return [clipped if noise == "clipped" else variance]
