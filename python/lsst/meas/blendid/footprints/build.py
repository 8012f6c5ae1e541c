# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From an image to its footprints and peaks."""

from __future__ import annotations

__all__ = ("build_footprints", "detect")

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..masks import mask_to_bool
from ..psf import PsfSummary
from ._inputs import check_inputs, clean_image, find_pedestal, find_scale, mark_variance, native
from .background import estimate_background
from .components import find_runs, label_runs, select_components
from .config import FootprintConfig
from .footprint_set import PEAK_DTYPE, FootprintSet
from .growth import grow_labels, growth_radius, stencil_half_widths
from .local_background import replace_peaks
from .peaks import find_peaks, refine_peaks
from .result import DetectionResult, NoNoiseError, NoUsablePixelsError
from .significance import (
    border_slices,
    check_scatter,
    divide_by_root,
    estimate_noise,
    noise_at,
    significance_image,
    smooth_variance,
)
from .smoothing import dilate_square, gaussian_kernel, kernel_size, smooth

if TYPE_CHECKING:
    from lsst.images import MaskedImage


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def build_footprints(
    image: np.ndarray,
    *,
    psf: PsfSummary,
    config: FootprintConfig | None = None,
    variance: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
    stats_excluded: np.ndarray | None = None,
    xy0: tuple[int, int] = (0, 0),
) -> DetectionResult:
    """Make footprints from an image.

    Parameters
    ----------
    image
        Image, real ``(ny, nx)``. Masked values of a masked array, of the
        variance too, count as not finite.
    psf
        Width of its PSF.
    config
        Settings; the defaults if `None`.
    variance
        Variance of each pixel ``(ny, nx)``; needed for
        ``noiseSource="variance"``, where pixels whose variance is not positive
        and finite count as bad.
    excluded
        True for pixels to leave out of statistics and detection, bool ``(ny,
        nx)``.
    stats_excluded
        True for pixels to leave out of statistics, bool ``(ny, nx)``.
    xy0
        Parent coordinates ``(x0, y0)`` of the first pixel.

    Returns
    -------
    result : `DetectionResult`
        Footprints, peaks and the images behind them.

    Raises
    ------
    ValueError
        If the arrays do not fit, the PSF has no width, or the variance is
        missing.
    NoUsablePixelsError
        If no pixel can be searched; `NoNoiseError` if the noise cannot be
        measured.
    """
    if config is None:
        config = FootprintConfig()
    image = np.asanyarray(image)
    check_inputs(
        image, psf, config, {"variance": variance, "excluded": excluded, "stats_excluded": stats_excluded}
    )
    pixel_noise = config.thresholdType == "pixel_stdev"
    use_variance = pixel_noise and config.noiseSource == "variance"
    scale = find_scale(image, variance if use_variance else None)
    pedestal = find_pedestal(image, scale)
    if pedestal and not config.doSubtractBackground:
        raise ValueError(
            f"the image's level of {pedestal:g} is too high over its scatter for single precision; "
            "subtract it, or set doSubtractBackground"
        )
    image = native(image, pedestal, scale.exponent)
    variance = (
        native(variance, exponent=2 * scale.exponent) if use_variance and variance is not None else None
    )
    clock = _Clock()
    metadata: dict[str, int | float | str] = {}
    correct = pixel_noise and config.doCorrectCorrelatedNoise

    with clock("clean"):
        bad = np.zeros(image.shape, dtype=bool) if excluded is None else np.array(excluded, dtype=bool)
        metadata["n_excluded_pixels"] = int(np.count_nonzero(bad)) if excluded is not None else 0
        if use_variance:
            assert variance is not None
            metadata["n_bad_variance_pixels"] = mark_variance(variance, bad, scale.variance_limit)
            if metadata["n_bad_variance_pixels"] == image.size:
                raise NoUsablePixelsError("the variance is nowhere positive and finite")
        clean = np.empty(image.shape, np.float32)
        metadata["n_nonfinite_pixels"] = clean_image(image, bad, clean, scale.limit)
        any_bad = bool(bad.any())
        if any_bad and bad.all():
            raise NoUsablePixelsError("no pixel of the image is finite and not excluded by its mask")

    size = kernel_size(psf.sigma, config.nSigmaForKernel)
    radius = size // 2
    if min(image.shape) < size:
        raise NoUsablePixelsError(
            f"the image of shape {image.shape} is smaller than the smoothing kernel of {size} pixels"
        )

    skip = bad if any_bad else None
    if stats_excluded is not None and stats_excluded.any():
        skip = bad | stats_excluded
        if skip.all():
            raise NoNoiseError("no pixel is left to measure the noise from; take planes off statsMask")

    if config.doSubtractBackground:
        with clock("background"):
            if correct or not use_variance:
                check_scatter(clean, skip)
            mesh = estimate_background(
                clean,
                skip,
                bin_size=config.backgroundBinSize,
                filter_size=config.backgroundFilterSize,
                statistic="mode",
                stride=16,
                n_iterations=20,
            )
            mesh.subtract_from(clean, out=clean)
            if any_bad:
                clean[bad] = 0.0
            metadata["background_mean"] = pedestal + scale.undo(float(mesh.values.mean()))

    kernel = gaussian_kernel(psf.sigma, size)
    with clock("smooth"):
        smoothed = smooth(clean, kernel)
        smoothed_variance = None
        if use_variance:
            assert variance is not None
            smoothed_variance = smooth_variance(variance, bad if any_bad else None, kernel)

    with clock("eligible"):
        eligible = ~dilate_square(bad, radius) if any_bad else np.ones(image.shape, dtype=bool)
        for edge in border_slices(radius):
            eligible[edge] = False
        if any_bad:
            if not eligible.any():
                raise NoUsablePixelsError(
                    "no pixel is farther from bad pixels and the edge than the smoothing kernel reaches"
                )
            smoothed[~eligible] = 0.0

    with clock("noise"):
        ratio = None
        if isinstance(smoothed_variance, np.ndarray):
            ratio = divide_by_root(smoothed, smoothed_variance)
        noise = estimate_noise(clean, smoothed, variance, smoothed_variance, skip, kernel, config, ratio)

    with clock("threshold"):
        significance = (
            significance_image(smoothed, smoothed_variance, noise, correct)
            if ratio is None or correct
            else ratio
        )
        if any_bad:
            significance[~eligible] = np.nan
        for edge in border_slices(radius):
            significance[edge] = np.nan
        runs = find_runs(significance, config.thresholdValue)

    with clock("components"):
        component, n_components = label_runs(runs)
        runs, component, n_components, dropped = select_components(
            runs,
            component,
            n_components,
            significance,
            min_pixels=config.minPixels,
            include_threshold=(
                config.thresholdValue * config.includeThresholdMultiplier
                if config.includeThresholdMultiplier > 1.0
                else None
            ),
        )
        metadata |= dropped

    with clock("peaks"):
        # At the edge of the image the margin does the same.
        searched = eligible if any_bad and not config.doKeepPeaksAtHoles else None
        peaks = find_peaks(runs, component, n_components, smoothed, margin=radius + 1, searched=searched)
        peaks = refine_peaks(peaks, smoothed)
        if config.doTempLocalBackground:
            peaks = replace_peaks(
                peaks,
                clean,
                smoothed,
                bad,
                runs,
                component,
                lambda x, y: noise_at(x, y, smoothed_variance, noise, correct),
                radius,
                config,
                searched,
            )

    growth = growth_radius(psf.sigma, config.nSigmaToGrow)
    with clock("growth"):
        labels, grown, run_labels = grow_labels(
            runs,
            component,
            stencil_half_widths(growth, config.isotropicGrow),
            merge=config.combinedGrow,
        )

    with clock("footprints"):
        table = np.zeros(peaks.x.size, PEAK_DTYPE)
        table["footprint_id"] = labels[peaks.y, peaks.x]
        table["i_x"], table["i_y"] = peaks.x + xy0[0], peaks.y + xy0[1]
        table["f_x"], table["f_y"] = peaks.fx + xy0[0], peaks.fy + xy0[1]
        table["peak_value"] = np.ldexp(peaks.value, scale.exponent)
        sigma = noise_at(peaks.x, peaks.y, smoothed_variance, noise, correct)
        with np.errstate(divide="ignore", over="ignore"):
            table["significance"] = peaks.value / sigma
        n = int(run_labels.max(initial=0)) if run_labels is not None else n_components
        area_detected = np.bincount(labels[runs.y, runs.x0], weights=runs.length, minlength=n + 1)[1:]
        if grown is not None and run_labels is not None:
            footprints = FootprintSet.from_runs(
                labels, grown, run_labels, xy0=xy0, peaks=table, area_detected=area_detected
            )
        else:
            footprints = FootprintSet.from_labels(labels, xy0=xy0, peaks=table, area_detected=area_detected)

    sky_level = _sky_level(clean, eligible, footprints.labels) / noise.sigma
    for plane in (clean, smoothed):
        scale.undo_inplace(plane)
    noise = replace(noise, sigma=scale.undo(noise.sigma), smoothed_sigma=scale.undo(noise.smoothed_sigma))
    metadata |= {
        "n_eligible_pixels": int(np.count_nonzero(eligible)),
        "n_footprints": len(footprints),
        "n_peaks": len(footprints.peaks),
        "psf_sigma": psf.sigma,
        "psf_sigma_min": psf.sigma_min,
        "psf_sigma_max": psf.sigma_max,
        "psf_sigma_std": psf.sigma_std,
        "kernel_size": size,
        "growth": growth,
        "noise_source": noise.source,
        "noise_sigma": noise.sigma,
        "noise_smoothed_sigma": noise.smoothed_sigma,
        "noise_correlation": noise.correlation,
        "sky_level": sky_level,
        "threshold": config.thresholdValue,
    }
    return DetectionResult(
        footprints=footprints,
        image=clean,
        smoothed=smoothed,
        significance=significance,
        eligible=eligible,
        bad=bad,
        noise=noise,
        sky_level=sky_level,
        psf=psf,
        growth=growth,
        metadata=metadata,
        xy0=(int(xy0[0]), int(xy0[1])),
        timings=clock.seconds,
    )


def _sky_level(image: np.ndarray, eligible: np.ndarray, labels: np.ndarray) -> float:
    """Median of the searched pixels outside footprints, 0 if there are none."""
    # A sixteenth of the pixels is plenty for a median in a large image.
    for step in (4, 1):
        few = (slice(None, None, step), slice(None, None, step))
        sky = image[few][eligible[few] & (labels[few] == 0)]
        if sky.size >= 1000:
            break
    return float(np.median(sky)) if sky.size else 0.0


def detect(
    masked_image: MaskedImage, *, psf: PsfSummary, config: FootprintConfig | None = None
) -> DetectionResult:
    """Make footprints from a masked image.

    Parameters
    ----------
    masked_image
        Image, mask and variance; mask planes are chosen by the config.
    psf
        Width of its PSF.
    config
        Settings; the defaults if `None`.

    Returns
    -------
    result : `DetectionResult`
        As from `build_footprints`; its metadata also name the mask planes
        that were used and those that the image lacks.

    Raises
    ------
    ValueError
        As `build_footprints`.
    NoUsablePixelsError
        If no pixel can be searched.
    """
    if config is None:
        config = FootprintConfig()
    excluded, used, lacking = mask_to_bool(masked_image.mask, config.excludeMaskPlanes)
    stats_excluded, stats_used, stats_lacking = mask_to_bool(masked_image.mask, config.statsMask)
    result = build_footprints(
        masked_image.image.array,
        psf=psf,
        config=config,
        variance=masked_image.variance.array,
        excluded=excluded,
        stats_excluded=stats_excluded,
        xy0=(masked_image.bbox.x.start, masked_image.bbox.y.start),
    )
    result.metadata["excluded_mask_planes"] = ",".join(used)
    result.metadata["stats_mask_planes"] = ",".join(stats_used)
    result.metadata["lacking_mask_planes"] = ",".join(dict.fromkeys(lacking + stats_lacking))
    return result
