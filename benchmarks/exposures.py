# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Cost, noise and fluxes of coadds that are made of single exposures.

``cost``: exposures of a whole scene, drawn and kept by one process; CPU seconds an
exposure, the most memory, the size of a file, and what 10 and 100 exposures cost.
``noise``: the correlation that the footprint code measures in coadds of sky alone (its
``doCorrectCorrelatedNoise`` multiplies the noise by it), beside what bilinear
interpolation with these dithers should give, with and without dither; and the
footprints above 5 sigma in that pure noise with and without the correction.
``fluxes``: a coadd of exposures beside the image that is drawn at once, from one
catalogue. The second is brought to the PSF of the first by the ratio of the
transforms of the two PSFs; the difference should be noise.

    OMP_NUM_THREADS=1 python benchmarks/exposures.py
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.table import Table
from lsst.meas.blendid.footprints import FootprintConfig, build_footprints
from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
from lsst.meas.blendid.simulation import Survey, get_survey
from lsst.meas.blendid.simulation.catalogs.catalog import make_catalog
from lsst.meas.blendid.simulation.catalogs.observed import observe
from lsst.meas.blendid.simulation.coadds.exposures import ExposureStack, effective_kernel, expose
from lsst.meas.blendid.simulation.coadds.photons import make_sensor
from lsst.meas.blendid.simulation.coadds.psf_model import PsfModel
from lsst.meas.blendid.simulation.coadds.render import draw_galaxies
from lsst.meas.blendid.simulation.config import ExposureConfig


def make_galaxies(size: int, survey: Survey, args: argparse.Namespace) -> Table:
    """Galaxies of a scene, as one band sees them."""
    source = int(args.scene) if args.scene.isdecimal() else args.scene
    return observe(make_catalog(source, size=(size, size), survey=survey, seed=args.seed), survey)


def survey_of(n: int) -> Survey:
    return dataclasses.replace(get_survey("i"), n_exposures=n)


def config_of(sensor: str, *, dither: bool = True) -> ExposureConfig:
    config = ExposureConfig()
    config.sensor, config.doDither = sensor, dither
    return config


def report_cost(args: argparse.Namespace) -> None:
    """Draw exposures of a whole scene."""
    # Compile first.
    expose(make_galaxies(64, survey_of(1), args), size=(64, 64), survey=survey_of(1), seed=1)
    survey = survey_of(args.exposures)
    galaxies = make_galaxies(args.size, survey, args)
    photons = float(np.sum(galaxies["flux"]) * survey.electrons_per_njy / args.exposures)
    print(
        f"{args.size} x {args.size} pixels, {len(galaxies):,} galaxies, {photons / 1e6:.1f} million photons"
    )
    print(f"{'sensor':<14}{'CPU s':>8}{'wall s':>8}{'GB':>8}{'MB/file':>9}{'10: min':>9}{'100: min':>10}")
    for sensor in ("", "lsst_itl_32"):
        with tempfile.TemporaryDirectory() as folder:
            times = []
            for n in range(1, args.exposures + 1):
                start, wall = time.process_time(), time.monotonic()
                # All but one are kept: what is left is one exposure, and reading the others.
                expose(
                    galaxies,
                    size=(args.size, args.size),
                    survey=survey_of(n),
                    config=config_of(sensor),
                    seed=args.seed,
                    folder=folder,
                )
                times.append((time.process_time() - start, time.monotonic() - wall))
            start = time.process_time()
            expose(
                galaxies,
                size=(args.size, args.size),
                survey=survey,
                config=config_of(sensor),
                seed=args.seed,
                folder=folder,
            )
            reading = (time.process_time() - start) / args.exposures
            cpu = np.median([t[0] - n * reading for n, t in enumerate(times)])
            wall = np.median([t[1] - n * reading for n, t in enumerate(times)])
            megabytes = np.mean([path.stat().st_size for path in Path(folder).iterdir()]) / 1e6
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{sensor or 'ideal':<14}{cpu:>8.2f}{wall:>8.2f}{memory:>8.2f}{megabytes:>9.1f}"
            f"{10 * cpu / 60:>9.1f}{100 * cpu / 60:>10.1f}",
            flush=True,
        )


def expected_correlation(stack: ExposureStack, sigma: float) -> float:
    """Scatter of smoothed noise over that of uncorrelated noise of the same variance.

    For a kernel k with autocorrelation A, and noise of covariance C, it is
    √(Σ C(d) A(d) / (C(0) A(0))).
    """
    half = int(np.ceil(7.0 * sigma)) // 2
    axis = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    auto = np.array([(axis[1:] * axis[:-1]).sum(), (axis**2).sum(), (axis[1:] * axis[:-1]).sum()])
    ratio = stack.covariance / stack.covariance[1, 1] * auto[:, None] * auto[None, :] / auto[1] ** 2
    return float(np.sqrt(ratio.sum()))


def report_noise(args: argparse.Namespace) -> None:
    """Measure the noise of sky alone."""
    nothing = make_galaxies(256, survey_of(1), args)[:1]
    nothing["flux"] = 0.0
    size = (args.noise_size, args.noise_size)
    print(f"\nsky alone, {size[0]} x {size[1]} pixels")
    print(f"{'':<26}{'pixel / white':>15}{'measured':>10}{'expected':>10}{'footprints':>12}{'corrected':>11}")
    for n, dither in ((1, False), (100, False), (1, True), (10, True), (100, True)):
        survey = survey_of(n)
        stack = expose(nothing, size=size, survey=survey, config=config_of("", dither=dither), seed=args.seed)
        psf = summarize_psf(stack.kernel)
        counts = []
        for correct in (False, True):
            config = FootprintConfig()
            config.doCorrectCorrelatedNoise = correct
            result = build_footprints(stack.image, psf=psf, config=config, variance=stack.variance)
            counts.append(len(result.footprints))
        pixel = np.sqrt(stack.sky_variance) / survey.sky_sigma
        name = f"{n} exposure{'s' if n > 1 else ''}, {'dither' if dither else 'no dither'}"
        print(
            f"{name:<26}{pixel:>15.3f}{result.noise.correlation:>10.3f}"
            f"{expected_correlation(stack, psf.sigma):>10.3f}{counts[0]:>12}{counts[1]:>11}",
            flush=True,
        )


def report_fluxes(args: argparse.Namespace) -> None:
    """Compare with an image that is drawn at once."""
    survey = survey_of(args.exposures_compared)
    size = args.compared_size
    galaxies = make_galaxies(size, survey, args)
    fast = draw_galaxies(
        galaxies,
        size=(size, size),
        psf=PsfModel(survey.fwhm),
        pixel_scale=survey.pixel_scale,
        noise=survey.sky_sigma,
    )
    print(f"\n{size} x {size} pixels, {len(galaxies):,} galaxies, {args.exposures_compared} exposures")
    print(
        f"{'sensor':<14}{'flux / drawn':>14}{'± ':>8}{'mean / noise':>14}{'scatter / noise':>17}{'bright':>9}"
    )
    for sensor in ("", "lsst_itl_32"):
        config = config_of(sensor)
        stack = expose(
            galaxies,
            size=(size, size),
            survey=survey,
            config=config,
            seed=args.seed,
            processes=args.processes,
        )
        pixel = survey.pixel_scale
        large = effective_kernel(
            np.asarray(stack.table["fwhm"]) / pixel,
            np.asarray(stack.table["dx"]),
            np.asarray(stack.table["dy"]),
            diffusion=make_sensor(sensor).diffusion,
            size=201,
        )
        model = match(fast, kolmogorov_kernel(survey.fwhm / pixel, 201), large)
        inner = np.s_[32:-32, 32:-32]
        image, variance, model = stack.image.astype(float)[inner], stack.variance[inner], model[inner]
        weight = model / variance
        flux = (weight * image).sum() / (weight * model).sum()
        # Bilinear interpolation correlates neighbours.
        error = np.sqrt(stack.covariance.sum() / stack.covariance[1, 1] / (weight * model).sum())
        chi = (image - model) / np.sqrt(variance)
        bright = model > 20.0 * np.sqrt(stack.sky_variance)
        print(
            f"{sensor or 'ideal':<14}{flux:>14.4f}{error:>8.4f}{chi.mean():>14.4f}{chi.std():>17.4f}"
            f"{chi[bright].std():>9.3f}",
            flush=True,
        )


def match(image: np.ndarray, kernel: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Bring an image from one PSF to a wider one."""
    middle = np.zeros(image.shape)
    half = kernel.shape[0] // 2
    transforms = []
    for one in (kernel, target):
        middle[:] = 0.0
        middle[: one.shape[0], : one.shape[1]] = one
        transforms.append(np.fft.rfft2(np.roll(middle, (-half, -half), (0, 1))))
    return np.fft.irfft2(np.fft.rfft2(image) * transforms[1] / transforms[0], s=image.shape)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["cost", "noise", "fluxes"], help="what to measure")
    parser.add_argument("--scene", default="parametric", help="number of a truth scene, or a catalogue")
    parser.add_argument("--size", type=int, default=2048, help="width of the scene, pixels")
    parser.add_argument("--exposures", type=int, default=4, help="exposures to draw of it")
    parser.add_argument("--noise-size", type=int, default=1024, help="width of the sky, pixels")
    parser.add_argument("--compared-size", type=int, default=512, help="width of the compared image, pixels")
    parser.add_argument("--exposures-compared", type=int, default=30, help="exposures to compare")
    parser.add_argument("--processes", type=int, default=1, help="processes for the comparison")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    reports = {"cost": report_cost, "noise": report_noise, "fluxes": report_fluxes}
    unknown = set(args.parts) - set(reports)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; known: {', '.join(reports)}")
    for part in args.parts:
        reports[part](args)


if __name__ == "__main__":
    main()
