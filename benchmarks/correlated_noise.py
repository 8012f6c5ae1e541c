# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What correlated noise does to footprints and to the calibration of their probabilities.

Simulated galaxies without noise get Gaussian noise that is white, or was resampled as dithered exposures
are, or smoothed as a drizzled image is. It is scaled so that a point source has the same S/N in all of
them, and the labels are those of that S/N: a perfect treatment would give the same figures in each row. The
images have no variance plane. For each noise: the correlation that is measured (the scatter of the smoothed
image over that of white noise of the same pixels), footprints, those without any galaxy (false) per square
arcminute, and slope and expected calibration error of P(blended), with the correction off, by itself (the
default) and on.

    python benchmarks/correlated_noise.py [--scenes 3] [--size 1536] [--model features-i-1]
"""

from __future__ import annotations

import argparse

import numpy as np
from lsst.meas.blendid.classifiers import classifier_registry, split_probabilities
from lsst.meas.blendid.footprints import build_footprints
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.labels import count_galaxies
from lsst.meas.blendid.metrics import score
from lsst.meas.blendid.model_package import ModelPackage
from lsst.meas.blendid.samples import FootprintSamples, SceneContext
from lsst.meas.blendid.simulation import get_survey, simulate_scene
from lsst.meas.blendid.simulation.coadds.psf_model import PsfModel
from lsst.meas.blendid.simulation.coadds.render import draw_galaxies
from lsst.meas.blendid.training import clipped_footprints
from scipy import ndimage

KINDS = {
    "white": None,
    "100 bilinear dithers": "dithers",
    "smoothed by 0.57 px": 0.57,
    "smoothed by 1.0 px": 1.0,
    "smoothed by 1.2 px": 1.2,
}
MODES = {"off": (False, np.inf), "by itself": (False, None), "on": (True, None)}


def draw_noise(kind: str | float | None, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise of one kind, of any scale, (ny, nx)."""
    pad = 8
    white = rng.normal(size=(shape[0] + 2 * pad, shape[1] + 2 * pad))
    if isinstance(kind, float):
        white = ndimage.gaussian_filter(white, kind)
    elif kind == "dithers":
        # Each exposure has noise of its own, shifted by a part of a pixel.
        total = np.zeros_like(white)
        for _ in range(100):
            dy, dx = rng.random(2)
            kernel = np.outer([dy, 1.0 - dy, 0.0], [dx, 1.0 - dx, 0.0])
            total += ndimage.convolve(rng.normal(size=white.shape), kernel)
        white = total
    return white[pad:-pad, pad:-pad]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=3, help="number of scenes")
    parser.add_argument("--size", type=int, default=1536, help="width of a scene, pixels")
    parser.add_argument("--model", default="features-i-1", help="model package")
    args = parser.parse_args()
    package = ModelPackage.read(args.model)
    classifier = classifier_registry[package.classifier].from_package(package)
    survey = get_survey("i")
    psf = summarize_psf(PsfModel(survey.fwhm).kernel(survey.pixel_scale))
    scenes = []
    for seed in range(args.scenes):
        scene = simulate_scene(size=(args.size, args.size), seed=9_000 + seed)
        sigma = float(np.sqrt(np.median(scene.coadd.variance.array)))
        image = draw_galaxies(
            scene.truth,
            size=(args.size, args.size),
            psf=PsfModel(survey.fwhm),
            pixel_scale=survey.pixel_scale,
            noise=sigma,
        )
        scenes.append((image, sigma, scene.truth))
    area = args.scenes * (args.size * survey.pixel_scale / 60.0) ** 2
    print(
        f"{'noise':22}{'correction':>12}{'correlation':>13}{'footprints':>12}{'false/arcmin²':>15}"
        f"{'slope':>8}{'ECE':>8}"
    )
    for name, kind in KINDS.items():
        noises = [
            draw_noise(kind, image.shape, np.random.default_rng(77 + i))
            for i, (image, _, _) in enumerate(scenes)
        ]
        for mode, (correct, limit) in MODES.items():
            counts, p, correlations = [], [], []
            for (image, sigma, truth), noise in zip(scenes, noises, strict=True):
                config = clipped_footprints()
                config.doCorrectCorrelatedNoise = correct
                if limit is not None:
                    config.maxNoiseCorrelation = limit
                # Of the same width when smoothed by the PSF as white noise of this sigma.
                scatter = ndimage.gaussian_filter(noise, psf.sigma)[12:-12, 12:-12].std()
                white = sigma / np.sqrt(4.0 * np.pi) / psf.sigma
                result = build_footprints(image + noise * (white / scatter), psf=psf, config=config)
                samples = FootprintSamples([result], [SceneContext(band="i", zero_point=31.4)])
                p.append(split_probabilities(classifier.probabilities(samples))[0])
                counts.append(count_galaxies(result.footprints, truth))
                correlations.append(result.noise.correlation)
            n = np.concatenate(counts)
            s = score(np.concatenate(p), n)
            print(
                f"{name:22}{mode:>12}{np.mean(correlations):13.2f}{len(n):12d}{(n == 0).sum() / area:15.2f}"
                f"{s.calibration_slope:8.2f}{s.ece:8.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
