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
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._progress import report_progress
from ..images.masks import mask_to_bool
from ..images.psf import PsfSummary
from ._inputs import check_inputs, clean_image, find_pedestal, find_scale, mark_variance, native
from .background import estimate_background
from .components import (
    find_runs,
    grow_apart,
    grow_merged,
    growth_radius,
    label_runs,
    select_components,
    stencil_half_widths,
)
from .config import FootprintConfig
from .footprint_set import PEAK_DTYPE, FootprintSet, cover_grid
from .noise import check_scatter, estimate_noise
from .peaks import find_peaks, measure_given, refine_peaks, replace_peaks
from .result import DetectionResult, NoNoiseError, NoUsablePixelsError
from .significance import (
    dilate_square,
    divide_by_root,
    eligible_pixels,
    gaussian_kernel,
    kernel_size,
    make_significance,
    make_smoothed,
    noise_at,
    significance_image,
    smooth,
    smooth_variance,
)

if TYPE_CHECKING:
    from lsst.images import MaskedImage


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        report_progress(stage)
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
    overwrite: bool = False,
    given_footprints: FootprintSet | None = None,
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
    overwrite
        Whether the image may become that of the result, without background
        and bad pixels, and ``excluded`` its bad pixels, which saves copies.
    given_footprints
        Footprints and peaks of this image to take instead of those over the
        threshold, such as those of a catalogue; the values of the peaks are
        measured here.

    Returns
    -------
    result : `DetectionResult`
        Footprints, peaks and the images behind them; it keeps the variance
        where that is the source of the noise.

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
        raise NoNoiseError(
            f"the image's level of {pedestal:g} is too high over its scatter for single precision; "
            "subtract it, or set doSubtractBackground"
        )
    given = image
    image = native(image, pedestal, scale.exponent)
    variance = (
        native(variance, exponent=2 * scale.exponent) if use_variance and variance is not None else None
    )
    clock = _Clock()
    metadata: dict[str, int | float | str] = {}
    correct = pixel_noise and config.doCorrectCorrelatedNoise

    with clock("clean"):
        n_excluded = 0 if excluded is None else int(np.count_nonzero(excluded))
        metadata["n_excluded_pixels"] = n_excluded
        # Memory of zeros that nobody wrote to takes no room.
        bad = np.zeros(image.shape, dtype=bool)
        if excluded is not None and n_excluded:
            bad = np.array(excluded, dtype=bool, copy=None if overwrite else True)
        if use_variance:
            assert variance is not None
            metadata["n_bad_variance_pixels"] = mark_variance(variance, bad, scale.variance_limit)
            if metadata["n_bad_variance_pixels"] == image.size:
                raise NoUsablePixelsError("the variance is nowhere positive and finite")
        if not image.flags.writeable or (not overwrite and np.may_share_memory(image, given)):
            clean = np.empty(image.shape, np.float32)
        else:
            clean = image
        metadata["n_nonfinite_pixels"] = clean_image(image, bad, clean, scale.limit)
        # Arrays as large as the image are let go once they have served: they are what memory is needed for.
        del given, image
        any_bad = bool(bad.any())
        if any_bad and bad.all():
            raise NoUsablePixelsError("no pixel of the image is finite and not excluded by its mask")

    size = kernel_size(psf.sigma, config.nSigmaForKernel)
    radius = size // 2
    if min(clean.shape) < size:
        raise NoUsablePixelsError(
            f"the image of shape {clean.shape} is smaller than the smoothing kernel of {size} pixels"
        )

    skip = bad if any_bad else None
    if stats_excluded is not None and np.any(stats_excluded > bad):
        skip = bad | stats_excluded
        if skip.all():
            raise NoNoiseError("no pixel is left to measure the noise from; take planes off statsMask")
    del excluded, stats_excluded

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
        smoothed_variance = None
        if use_variance:
            assert variance is not None
            smoothed_variance = smooth_variance(variance, bad if any_bad else None, kernel)
        smoothed = smooth(clean, kernel)

    with clock("eligible"):
        near_bad = None
        inner = tuple(slice(radius, length - radius) for length in clean.shape)
        n_eligible = (clean.shape[0] - 2 * radius) * (clean.shape[1] - 2 * radius)
        if any_bad:
            near_bad = dilate_square(bad, radius)
            n_eligible -= int(np.count_nonzero(near_bad[inner]))
            if n_eligible == 0:
                raise NoUsablePixelsError(
                    "no pixel is farther from bad pixels and the edge than the smoothing kernel reaches"
                )
            smoothed[near_bad] = 0.0

    with clock("noise"):
        ratio = None
        if isinstance(smoothed_variance, np.ndarray):
            ratio = divide_by_root(smoothed, smoothed_variance)
        noise = estimate_noise(
            clean,
            smoothed,
            variance,
            smoothed_variance,
            skip,
            kernel,
            config,
            ratio,
            near_bad if skip is bad else None,
        )
        del skip

    with clock("threshold"):
        # The signal to noise is the smoothed image times a number, or the ratio; 0, which is under any
        # threshold, where a pixel is not eligible.
        if ratio is None:
            values, factor = smoothed, 1.0 / noise.smoothed_sigma
        else:
            values, factor = ratio, 1.0
            if correct:
                significance_image(smoothed, smoothed_variance, noise, correct, out=ratio)
        over = runs = find_runs(values, config.thresholdValue, factor)

    growth = growth_radius(psf.sigma, config.nSigmaToGrow)
    if given_footprints is not None:
        with clock("footprints"):
            del values, ratio
            footprints = measure_given(
                given_footprints,
                smoothed,
                over,
                lambda x, y: noise_at(x, y, smoothed_variance, noise, correct),
                exponent=scale.exponent,
                xy0=xy0,
            )
            del smoothed
    else:
        with clock("components"):
            component, n_components = label_runs(runs)
            runs, component, n_components, dropped = select_components(
                runs,
                component,
                n_components,
                values,
                factor=factor,
                min_pixels=config.minPixels,
                include_threshold=(
                    config.thresholdValue * config.includeThresholdMultiplier
                    if config.includeThresholdMultiplier > 1.0
                    else None
                ),
            )
            metadata |= dropped
            del values, ratio

        with clock("peaks"):
            # At the edge of the image the margin does the same.
            holes = None if config.doKeepPeaksAtHoles else near_bad
            peaks = find_peaks(runs, component, n_components, smoothed, margin=radius + 1, holes=holes)
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
                    holes,
                )
            del smoothed

        with clock("growth"):
            half_widths = stencil_half_widths(growth, config.isotropicGrow)
            if config.combinedGrow:
                grown, labels = grow_merged(runs, half_widths)
            else:
                label_image = grow_apart(runs, component, half_widths)

        with clock("footprints"):
            table = np.zeros(peaks.x.size, PEAK_DTYPE)
            table["i_x"], table["i_y"] = peaks.x + xy0[0], peaks.y + xy0[1]
            table["f_x"], table["f_y"] = peaks.fx + xy0[0], peaks.fy + xy0[1]
            table["peak_value"] = np.ldexp(peaks.value, scale.exponent)
            sigma = noise_at(peaks.x, peaks.y, smoothed_variance, noise, correct)
            with np.errstate(divide="ignore", over="ignore"):
                table["significance"] = peaks.value / sigma
            if config.combinedGrow:
                table["footprint_id"] = labels[grown.find(peaks.x, peaks.y)]
                n = int(labels.max(initial=0))
                area = np.bincount(labels[grown.find(runs.x0, runs.y)], weights=runs.length, minlength=n + 1)[
                    1:
                ]
                footprints = FootprintSet.from_runs(grown, labels, xy0=xy0, peaks=table, area_detected=area)
            else:
                table["footprint_id"] = label_image[peaks.y, peaks.x]
                area = np.bincount(component, weights=runs.length, minlength=n_components + 1)[1:]
                footprints = FootprintSet.from_labels(label_image, xy0=xy0, peaks=table, area_detected=area)

    sky_level = _sky_level(clean, near_bad, radius, footprints) / noise.sigma
    scale.undo_inplace(clean)
    make = partial(make_significance, clean, variance, bad, kernel, scale.exponent, noise, correct)
    noise = replace(noise, sigma=scale.undo(noise.sigma), smoothed_sigma=scale.undo(noise.smoothed_sigma))
    metadata |= {
        "n_eligible_pixels": n_eligible,
        "n_footprints": len(footprints),
        "n_peaks": len(footprints.peaks),
        "psf_sigma": psf.sigma,
        "psf_sigma_min": psf.sigma_min,
        "psf_sigma_max": psf.sigma_max,
        "psf_sigma_std": psf.sigma_std,
        "kernel_size": size,
        "growth": growth,
        "footprint_source": "threshold" if given_footprints is None else "catalog",
        "noise_source": noise.source,
        "noise_sigma": noise.sigma,
        "noise_smoothed_sigma": noise.smoothed_sigma,
        "noise_correlation": noise.correlation,
        "noise_is_correlated": int(noise.is_correlated),
        "noise_is_corrected": int(noise.is_corrected),
        "sky_level": sky_level,
        "threshold": config.thresholdValue,
    }
    return DetectionResult(
        footprints=footprints,
        image=clean,
        smoothed=partial(make_smoothed, clean, bad, kernel, scale.exponent),
        significance=make,
        eligible=partial(eligible_pixels, bad, radius),
        bad=bad,
        noise=noise,
        sky_level=sky_level,
        psf=psf,
        growth=growth,
        metadata=metadata,
        xy0=(int(xy0[0]), int(xy0[1])),
        timings=clock.seconds,
        runs=over,
    )


def _sky_level(
    image: np.ndarray, near_bad: np.ndarray | None, radius: int, footprints: FootprintSet
) -> float:
    """Median of the searched pixels outside footprints, 0 if there are none."""
    # A sixteenth of the pixels is plenty for a median in a large image.
    for step in (4, 1):
        few = (slice(None, None, step), slice(None, None, step))
        use = ~cover_grid(footprints, step)
        for axis, length in enumerate(image.shape):
            place = np.arange(0, length, step)
            outside = (place < radius) | (place >= length - radius)
            use[(slice(None),) * axis + (outside,)] = False
        if near_bad is not None:
            use &= ~near_bad[few]
        sky = image[few][use]
        if sky.size >= 1000:
            break
    return float(np.median(sky)) if sky.size else 0.0


def detect(
    masked_image: MaskedImage,
    *,
    psf: PsfSummary,
    config: FootprintConfig | None = None,
    overwrite: bool = False,
    given_footprints: FootprintSet | None = None,
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
    overwrite, given_footprints
        As for `build_footprints`.

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
    more_for_stats = stats_excluded if np.any(stats_excluded > excluded) else None
    del stats_excluded
    result = build_footprints(
        masked_image.image.array,
        psf=psf,
        config=config,
        variance=masked_image.variance.array,
        excluded=excluded,
        stats_excluded=more_for_stats,
        xy0=(masked_image.bbox.x.start, masked_image.bbox.y.start),
        overwrite=overwrite,
        given_footprints=given_footprints,
    )
    result.metadata["excluded_mask_planes"] = ",".join(used)
    result.metadata["stats_mask_planes"] = ",".join(stats_used)
    result.metadata["lacking_mask_planes"] = ",".join(dict.fromkeys(lacking + stats_lacking))
    return result
