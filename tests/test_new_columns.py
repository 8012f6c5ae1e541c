# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""A release with more columns must read the models of today: tests with a source tree that has them.

Another process runs the shipped models with new columns (`edited_modules`), this one without.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from lsst.meas.blendid.classifiers import classifier_registry, find_classifier
from lsst.meas.blendid.localizers import find_localizer
from lsst.meas.blendid.model_package import ModelPackage, list_shipped
from lsst.meas.blendid.samples import FootprintSamples
from toy_samples import make_samples


def run_models() -> dict[str, np.ndarray]:
    """What each shipped model says of the same footprints, alone and as the default of its class."""
    said: dict[str, np.ndarray] = {}
    for source in list_shipped():
        package = ModelPackage.read(source)
        samples, _ = make_samples(6, zero_point=31.4)
        if package.kind == "localizer":
            positions = find_localizer(package).from_package(package).locate(samples)
            said[source] = np.concatenate(
                [np.stack([p.x, p.y, p.probability, p.xx]) for p in positions], axis=1
            )
            continue
        model = find_classifier(package).from_package(package)
        said[source] = np.asarray(model.probabilities(samples))
        said[source + " tail"] = model.tail_mean(samples)
    for name in classifier_registry:
        samples, _ = make_samples(6, zero_point=31.4)
        default = classifier_registry[name](classifier_registry[name].ConfigClass())
        if default.package is not None:
            said[name] = np.asarray(default.probabilities(samples))
    return said


def test_new_columns_change_nothing_of_the_shipped_models(tmp_path: Path) -> None:
    out = tmp_path / "said.npz"
    program = (
        "import edited_modules; edited_modules.install(); "
        f"import test_new_columns; test_new_columns.main({str(out)!r})"
    )
    folder = Path(__file__).parent
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    before, after = run_models(), dict(np.load(out))
    assert after.keys() == before.keys() and len(before) > len(list_shipped())
    for name, values in before.items():
        # Of sums of many products the last bit depends on where in memory they lie.
        np.testing.assert_allclose(after[name], values, rtol=1e-12, atol=0.0, err_msg=name)


def main(path: str) -> None:
    """In the other process: look at the edited modules, and write what the models say."""
    from lsst.meas.blendid.centers import CENTER_COLUMNS, CONTEXT_NAMES, SCALAR_NAMES
    from lsst.meas.blendid.classifiers.count_model import TAIL_COLUMNS
    from lsst.meas.blendid.features import FEATURE_NAMES, measure_features
    from lsst.meas.blendid.features.facts import FACT_NAMES
    from lsst.meas.blendid.localizers import OBJECT_COLUMNS

    for names, new in (
        (CENTER_COLUMNS, "center_new"),
        (CONTEXT_NAMES, "new_of_image"),
        (SCALAR_NAMES, "new_fact"),
        (FACT_NAMES, "new_fact"),
        (tuple(TAIL_COLUMNS), "new_of_tail"),
        (OBJECT_COLUMNS, "is_new"),
    ):
        assert names[0] == new
    assert {"new_neighbor", "new_field"} <= set(FEATURE_NAMES)
    samples: FootprintSamples = make_samples(4)[0]
    new_columns = measure_features(samples, ["new_field", "area", "new_neighbor"])[:, [0, 2]]
    np.testing.assert_array_equal(new_columns, np.broadcast_to([6.0, 5.0], new_columns.shape))
    np.savez(path, **run_models())
