# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.
"""Time the features of footprints beside photutils and SEP, in processor seconds of one core.

``OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python benchmarks/features.py`` prints a table: each group of
features, all of them but the fits of two sources, those fits, boosted trees, and everything from the image to
probabilities.  The peers measure part of it: SEP detects, deblends and gives moments and isophotal fluxes;
photutils gives moments, shapes and fluxes of the same footprints.  The image is that of
``benchmarks/footprints.py``.
"""

from __future__ import annotations

import argparse
import platform

import numpy as np
from footprints import PSF_FWHM, SKY_SIGMA, make_image, run_sep, timed

_PHOTUTILS_COLUMNS = (
    "segment_flux",
    "kron_flux",
    "semimajor_axis",
    "ellipticity",
    "cxx",
    "perimeter",
    "max_value",
    "fluxfrac_radius",
)


def run_photutils(image: np.ndarray, labels: np.ndarray) -> int:
    """Shapes and fluxes of given footprints with photutils; number of columns."""
    from photutils.segmentation import SegmentationImage, SourceCatalog

    catalog = SourceCatalog(image, SegmentationImage(labels), error=np.full_like(image, SKY_SIGMA))
    columns = [
        catalog.fluxfrac_radius(0.5) if name == "fluxfrac_radius" else getattr(catalog, name)
        for name in _PHOTUTILS_COLUMNS
    ]
    return len(columns)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="side of the image [pixel]")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls; peers get fewer")
    parser.add_argument("--no-peers", action="store_true", help="time ours only")
    parser.add_argument("--trees", type=int, default=600, help="trees of the model that is timed")
    arguments = parser.parse_args()

    from lsst.meas.blendid.classifiers.trees import TreeSettings, fit_trees, predict_trees
    from lsst.meas.blendid.features import FEATURE_NAMES, TWO_COMPONENT_COLUMNS, measure_features
    from lsst.meas.blendid.features.core import measure_core
    from lsst.meas.blendid.features.geometry import measure_geometry, measure_neighbors
    from lsst.meas.blendid.features.light import measure_isophotes, measure_light
    from lsst.meas.blendid.features.peaks import measure_peaks
    from lsst.meas.blendid.features.planes import make_planes
    from lsst.meas.blendid.footprints import FootprintConfig, build_footprints
    from lsst.meas.blendid.images.psf import kolmogorov_kernel, summarize_psf
    from lsst.meas.blendid.samples import FootprintSamples

    psf = summarize_psf(kolmogorov_kernel(PSF_FWHM))
    config = FootprintConfig()
    config.noiseSource, config.doSubtractBackground, config.excludeMaskPlanes = "clipped", True, []
    image, _ = make_image(arguments.size)
    result = build_footprints(image, psf=psf, config=config)
    n = len(result.footprints)
    own = [name for name in FEATURE_NAMES if name not in TWO_COMPONENT_COLUMNS]
    planes = make_planes(result)
    _, peaks = measure_peaks(result, planes)
    table = measure_features(FootprintSamples([result]))
    rng = np.random.default_rng(1)
    settings = TreeSettings(n_trees=max(arguments.trees // 5, 1), min_samples=5, patience=0)
    trees = fit_trees(table, rng.integers(0, 5, n), settings=settings)

    def everything() -> None:
        found = build_footprints(image, psf=psf, config=config)
        predict_trees(trees, measure_features(FootprintSamples([found])))

    print(f"python {platform.python_version()}, {platform.machine()}, processor seconds of all threads, warm")
    print(f"{arguments.size} × {arguments.size}, {n} footprints; least and median of the repeats\n")
    rows = {
        "smoothed and band-pass images": lambda: make_planes(result),
        "shapes of footprints": lambda: measure_geometry(result, planes),
        "peaks in five images": lambda: measure_peaks(result, planes),
        "light: moments, apertures, asymmetry": lambda: measure_light(planes, peaks),
        "cores and residuals": lambda: measure_core(planes, peaks, result.psf.image),
        "isophotes": lambda: measure_isophotes(planes, peaks),
        "neighbours": lambda: measure_neighbors(result),
        f"all {len(own)} features but fits": lambda: measure_features(FootprintSamples([result]), own),
        f"{len(TWO_COMPONENT_COLUMNS)} columns of fits of two sources": lambda: measure_features(
            FootprintSamples([result]), TWO_COMPONENT_COLUMNS
        ),
        f"{trees['tree_score'].size} trees": lambda: predict_trees(trees, table),
        "footprints": lambda: build_footprints(image, psf=psf, config=config),
        "from the image to probabilities": everything,
    }
    for name, function in rows.items():
        least, median = timed(function, arguments.repeats)
        print(f"  {name:<42} {least:8.4f} {median:8.4f}")
    if arguments.no_peers:
        return
    few = max(arguments.repeats // 3, 1)
    least, median = timed(lambda: run_sep(image, None, 1.5), few)
    print(f"  {'SEP: background, extract with deblending':<42} {least:8.4f} {median:8.4f}")
    least, median = timed(lambda: run_photutils(result.image, result.footprints.labels), few)
    print(
        f"  {f'photutils: {len(_PHOTUTILS_COLUMNS)} columns of SourceCatalog':<42} {least:8.4f} {median:8.4f}"
    )


if __name__ == "__main__":
    main()
