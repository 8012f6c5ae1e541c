# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Settings and fixtures shared by all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# Figures go to files, also in the processes that tests start.
os.environ["MPLBACKEND"] = "Agg"

# Whoever runs the tests in the background may have Ctrl-C ignored, also in the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no deadline: numba compiles within the first one.
hypothesis.settings.register_profile(
    "blendid",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("blendid")


_NUMBERS = frozenset(
    f"test_{name}.py"
    for name in (
        *("evaluation_baselines", "evaluation_bootstrap", "calibration", "metrics"),
        *("centers_map_network", "centers_maps", "classifiers_cnn_networks"),
        *("networks_convolution", "networks_streaming"),
        *("classifiers_centers", "classifiers_logistic_fits", "classifiers_cnn"),
        *("classifiers_ensemble", "classifiers_features", "classifiers_logistic"),
        *("classifiers_muygps", "classifiers_peaks", "classifiers_trees"),
        *("features_measure", "features_planes", "features_two_component"),
        *("footprints_background", "footprints_noise", "footprints_significance"),
        *("images_psf", "training", "training_fine_tuning", "training_simulated"),
    )
)
"""Files of the tests marked ``numbers``: ``make test-numbers`` runs them as other processors would."""

for _name in _NUMBERS:
    assert Path(__file__).with_name(_name).is_file(), f"{_name} of the tests of numbers is gone"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in _NUMBERS:
            item.add_marker("numbers")


@pytest.fixture(scope="module", autouse=True)
def _forget_networks() -> Iterator[None]:
    """Let Keras forget the networks of a file of tests, which it would keep as long as the process lives."""
    yield
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.backend.clear_session()
        gc.collect()


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Top folder of the source tree."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data(repo_root: Path) -> Path:
    """Folder of real reference data; a test that needs it skips where it is absent."""
    default = repo_root.parent / "shared" / "data"
    path = Path(os.environ.get("BLENDID_DATA", default))
    if not path.is_dir():
        pytest.skip(f"reference data not found: neither $BLENDID_DATA nor {default} is a folder")
    return path


@pytest.fixture(scope="session")
def shared_cases(repo_root: Path) -> Path:
    """Folder of the programs that write small inputs; a test that needs one skips where it is absent."""
    beside = repo_root.parent / "shared" / "data"
    path = Path(os.environ.get("BLENDID_DATA", beside)).parent / "cases"
    if not path.is_dir():
        pytest.skip(f"programs for small inputs not found: {path} is no folder")
    return path
