# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Time the footprint construction beside SEP on the same image, in processor seconds.

``python benchmarks/footprints.py --sizes 1024 2048 4096 8192`` prints a table:
each of our stages, our total, ``sep.Background`` + ``sep.extract`` with
deblending, and the ratio. The image has the depth and the number counts of a
100 × 30 s i-band coadd on a pedestal of sky; it is made here, in seconds.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable

import numpy as np

SKY_SIGMA = 320.0  # electrons a pixel in 3000 s at 20.47 mag/arcsec² and 0.2 arcsec/pixel
ZERO_POINT = 27.8  # mag of 1 electron/s
EXPOSURE = 3000.0  # s
COUNTS = ((18.0, 24.0, 25.0, 26.0, 27.0, 28.0), (0.2, 19.7, 42.8, 89.9, 191.0, 376.0))  # per arcmin²
PSF_FWHM = 3.5  # pixel


def make_image(size: int, seed: int = 1, pedestal: float = 1000.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field of galaxies.

    Parameters
    ----------
    size
        Side of the image [pixel].
    seed
        Of the random numbers.
    pedestal
        Mean of the sky that is left in the image; it has a gradient of 10 %.

    Returns
    -------
    image, variance
        float32 ``(size, size)`` each.
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    area = (size * 0.2 / 60.0) ** 2
    magnitudes, cumulative = (np.asarray(v) for v in COUNTS)
    n = rng.poisson(cumulative[-1] * area)
    u = rng.uniform(cumulative[0], cumulative[-1], n)
    mag = np.interp(np.log(u), np.log(cumulative), magnitudes)
    flux = EXPOSURE * 10.0 ** (0.4 * (ZERO_POINT - mag))
    radius = 10.0 ** (np.log10(0.21) - 0.16 * (mag - 24.0) + rng.normal(0.0, 0.2, n)) / 0.2  # pixel
    x, y = rng.integers(0, size, (2, n))
    # Six classes of width, each a sum of two Gaussians, drawn by one filter a Gaussian.
    sigma = np.hypot(radius / 1.18, PSF_FWHM / 2.355)
    edges = np.quantile(sigma, np.linspace(0.0, 1.0, 7))
    image = np.zeros((size, size), np.float32)
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        chosen = (sigma >= low) & (sigma < high)
        points = np.zeros((size, size), np.float32)
        np.add.at(points, (y[chosen], x[chosen]), flux[chosen])
        width = np.median(sigma[chosen])
        image += 0.8 * gaussian_filter(points, width, truncate=4.0)
        image += 0.2 * gaussian_filter(points, 2.0 * width, truncate=3.5)
    image += rng.standard_normal((size, size), dtype=np.float32) * np.float32(SKY_SIGMA)
    image += np.linspace(0.95, 1.05, size, dtype=np.float32) * np.float32(pedestal)
    return image, np.full((size, size), SKY_SIGMA**2, np.float32)


def timed(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Least and median processor time of a function [s], after one call that does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds), float(np.median(seconds))


def run_sep(image: np.ndarray, kernel: np.ndarray | None, threshold: float) -> int:
    """Background, subtraction, detection, deblending with SEP; number of objects.

    ``kernel`` is the two-dimensional filter, SEP's own 3 × 3 if `None`, and
    ``threshold`` is in units of the noise before filtering.
    """
    import sep

    background = sep.Background(image, bw=128, bh=128, fw=3, fh=3)
    options = {} if kernel is None else {"filter_kernel": kernel}
    return len(sep.extract(image - background, threshold, err=background.globalrms, **options))


def run_photutils(image: np.ndarray, sigma: float) -> int:
    """Background, subtraction, smoothing, detection, deblending with photutils; number of objects."""
    from astropy.convolution import convolve_fft
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import SourceFinder, make_2dgaussian_kernel

    background = Background2D(image, (128, 128), filter_size=(3, 3), bkg_estimator=MedianBackground())
    kernel = make_2dgaussian_kernel(2.3548 * sigma, size=13)
    smoothed = convolve_fft(image - background.background, kernel, normalize_kernel=True)
    white = float(np.sqrt((kernel.array**2).sum()))
    segments = SourceFinder(1)(smoothed, 5.0 * white * background.background_rms_median)
    return int(np.unique(segments.data).size) - 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[1024, 2048, 4096], help="image sides [pixel]"
    )
    parser.add_argument("--repeats", type=int, default=7, help="timed calls of ours; SEP gets half of them")
    parser.add_argument("--no-peers", action="store_true", help="time ours only")
    parser.add_argument("--photutils", action="store_true", help="time photutils too (slow)")
    arguments = parser.parse_args()

    from lsst.meas.blendid.footprints import FootprintConfig, build_footprints
    from lsst.meas.blendid.footprints.significance import gaussian_kernel, kernel_size
    from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf

    psf = summarize_psf(kolmogorov_kernel(PSF_FWHM))
    one_d = gaussian_kernel(psf.sigma, kernel_size(psf.sigma))
    kernel = np.outer(one_d, one_d).astype(np.float32)
    white = float((one_d**2).sum())
    config = FootprintConfig()
    config.noiseSource = "clipped"
    config.doSubtractBackground = True
    config.excludeMaskPlanes = []
    rubin = FootprintConfig()

    print(f"python {platform.python_version()}, {platform.machine()}, processor seconds of all threads, warm")
    print("  least and median of the repeats; SEP's threshold on its filtered image is ours\n")
    base: tuple[int, float] | None = None
    for size in arguments.sizes:
        image, variance = make_image(size)
        start = time.perf_counter()
        result = build_footprints(image, psf=psf, config=config)
        first = time.perf_counter() - start
        stages: dict[str, list[float]] = {}

        def ours(image: np.ndarray = image, stages: dict[str, list[float]] = stages) -> None:
            for name, seconds in build_footprints(image, psf=psf, config=config).timings.items():
                stages.setdefault(name, []).append(seconds)

        least, median = timed(ours, arguments.repeats)
        flat = image - np.linspace(950.0, 1050.0, size, dtype=np.float32)
        plane, plane_median = timed(
            lambda i=flat, v=variance: build_footprints(i, psf=psf, config=rubin, variance=v),  # type: ignore[misc]
            arguments.repeats,
        )
        uneven = variance.copy()
        uneven[: size // 2] *= 1.01
        uneven_least, uneven_median = timed(
            lambda i=flat, v=uneven: build_footprints(i, psf=psf, config=rubin, variance=v),  # type: ignore[misc]
            arguments.repeats,
        )
        n = len(result.footprints)
        print(
            f"{size} × {size}: {n} footprints, {len(result.footprints.peaks)} peaks; first call {first:.2f} s"
        )
        for name, values in stages.items():
            print(f"    {name:<12} {min(values):8.4f} {np.median(values):8.4f}   (wall)")
        print(f"  ours: clipped noise, background    {least:8.3f} {median:8.3f}")
        print(f"  ours: variance plane, constant     {plane:8.3f} {plane_median:8.3f}")
        print(f"  ours: variance plane, varying      {uneven_least:8.3f} {uneven_median:8.3f}")
        half = max(arguments.repeats // 2, 1)
        peers: dict[str, Callable[[], int]] = {
            "sep, the same Gaussian": lambda i=image: run_sep(i, kernel, 5.0 * white),  # type: ignore[misc]
            "sep, its 3×3 kernel at 1.5 sigma": lambda i=image: run_sep(i, None, 1.5),  # type: ignore[misc]
        }
        if arguments.photutils:
            peers["photutils"] = lambda i=image: run_photutils(i, psf.sigma)  # type: ignore[misc]
        if arguments.no_peers:
            peers = {}
        for name, peer in peers.items():
            try:
                peer_least, peer_median = timed(peer, half)
            except Exception as error:  # SEP's pixel stack may overflow on crowded images
                print(f"  {name:<34} failed: {error}")
                continue
            ratio = least / peer_least
            print(f"  {name:<34} {peer_least:8.3f} {peer_median:8.3f}   ours / it: {ratio:.2f}")
        if base is None:
            base = (size, least)
        else:
            per_pixel = (least / size**2) / (base[1] / base[0] ** 2)
            print(f"  time a pixel relative to {base[0]} × {base[0]}: {per_pixel:.2f}")
        print(flush=True)


if __name__ == "__main__":
    main()
