# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What metadata that make no sense do to a model: an error that says so, or nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from lsst.meas.blendid._package_format import FORMAT_NAME, FORMAT_VERSION, parse_metadata
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    classifier_registry,
    split_probabilities,
)
from lsst.meas.blendid.footprints import FootprintConfig
from lsst.meas.blendid.model_package import ModelPackage, ModelPackageError, list_shipped
from lsst.meas.blendid.samples import FootprintSamples
from toy_samples import make_samples

type _Path = tuple[str | int, ...]

_FREE = ("training", "validation", "versions")
"""Nothing is computed with these."""


def _leaves(value: Any, path: _Path = ()) -> Iterator[_Path]:
    """Paths of all values, of lists the last one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value:
        yield from _leaves(value[-1], (*path, len(value) - 1))
    else:
        yield path


def _nonsense(value: Any) -> list[Any]:
    """Null, other types, huge, negative; what is not a number is not read at all, as another test shows."""
    other = 3 if isinstance(value, str) else "many"
    sign = -value if isinstance(value, int | float) and not isinstance(value, bool) else -1
    return [None, other, [], 1e300, 10**12, sign]


def _put(tree: Any, path: _Path, value: Any) -> Any:
    """Replace a value and return the old one."""
    for key in path[:-1]:
        tree = tree[key]
    old, tree[path[-1]] = tree[path[-1]], value
    return old


def _strip(metadata: dict[str, Any]) -> dict[str, Any]:
    members = {name: _strip(own) for name, own in metadata.get("members", {}).items()}
    return metadata | {key: {} for key in _FREE} | ({"members": members} if members else {})


def _read(document: dict[str, Any], package: ModelPackage) -> ModelPackage:
    """As it would come out of a file."""
    try:
        metadata = parse_metadata(json.dumps(document), "some.file")
    except ValueError as err:  # What reads files makes one error of these.
        raise ModelPackageError(f"some.file: {err}") from None
    return ModelPackage(metadata["classifier"], metadata, package.arrays, "some.file")


def _load(package: ModelPackage) -> BlendClassifier:
    if package.classifier not in classifier_registry:
        raise ModelPackageError(f"some.file: no classifier {package.classifier}")
    return classifier_registry[package.classifier].from_package(package)


def _facts(classifier: BlendClassifier) -> Any:
    """All that probabilities depend on beside arrays."""
    members = getattr(classifier, "members", {})
    own = (classifier.settings.to_dict(), classifier.calibration)
    return own, {name: _facts(member) for name, member in members.items()}


@pytest.fixture(scope="module")
def samples() -> FootprintSamples:
    return make_samples(3)[0]


@pytest.fixture
def load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made of the same arrays with the same settings is made once."""
    for name in classifier_registry:
        cls = classifier_registry[name]
        monkeypatch.setattr(cls, "_set_state", _remember(cls._set_state))


def _remember(original: Callable[[Any, dict[str, np.ndarray]], None]) -> Callable[..., None]:
    made: dict[str, dict[str, Any]] = {}

    def set_state(self: BlendClassifier, arrays: dict[str, np.ndarray]) -> None:
        key = json.dumps(self.settings.to_dict(), sort_keys=True)
        if key not in made:
            before = dict(self.__dict__)
            original(self, arrays)
            made[key] = {k: v for k, v in self.__dict__.items() if before.get(k) is not v}
        self.__dict__.update(made[key])

    return set_state


@pytest.mark.usefixtures("load_once")
@pytest.mark.parametrize("name", list_shipped("classifier"))
def test_nonsense_is_refused_or_changes_nothing(name: str, samples: FootprintSamples) -> None:
    package = ModelPackage.read(name)
    document = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION} | _strip(package.metadata)
    facts = _facts(_load(_read(document, package)))
    settings = FootprintConfig().toDict()
    refused = loaded = 0
    paths = list(_leaves(document))
    if "members" in document:
        # Those of members are looked at in their own packages; here, that an ensemble looks at them.
        own = [path for path in paths if path[0] != "members"]
        paths = own + random.Random(1).sample([path for path in paths if path[0] == "members"], 6)
    for path in paths:
        first = _put(document, path, None)
        for value in _nonsense(first):
            _put(document, path, value)
            try:
                classifier = _load(_read(document, package))
            except ModelPackageError as err:
                assert str(err).startswith("some.file") and "\n" not in str(err) and len(str(err)) < 2000
                refused += 1
                continue
            loaded += 1
            assert classifier.package is not None
            # What the task does with metadata.
            classifier.package.footprint_differences(settings)
            classifier.package.supports_band("i")
            classifier.package.find_violations(psf_sigma=1.6, depth=26.0)
            classifier.describe_probabilities()
            if _facts(classifier) == facts:
                continue
            # Another setting that is possible.
            p, _ = split_probabilities(classifier.probabilities(samples))
            assert np.isfinite(p).all(), (path, value)
        _put(document, path, first)
    assert refused > loaded > 0


@pytest.mark.usefixtures("load_once")
@pytest.mark.parametrize("name", list_shipped("classifier"))
def test_what_is_only_told_changes_nothing(name: str) -> None:
    package = ModelPackage.read(name)
    facts = _facts(_load(package))
    for value in ("many", None, -(10**12), 1e300, [], {}):
        document = {"format": FORMAT_NAME, "format_version": FORMAT_VERSION}
        document |= json.loads(json.dumps(package.metadata))
        for key in _FREE:
            for path in list(_leaves(document[key])):
                if path:
                    _put(document[key], path, value)
        assert _facts(_load(_read(document, package))) == facts


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400])
def test_numbers_that_are_not_finite_are_refused(number: str) -> None:
    text = json.dumps({"format": FORMAT_NAME, "value": 0.5}).replace("0.5", number)
    with pytest.raises(ValueError, match="number .* in metadata.json"):
        parse_metadata(text, "some.file")
