# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of model packages."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lsst.meas.blendid import model_package
from lsst.meas.blendid.model_package import (
    SUFFIX,
    ModelPackage,
    ModelPackageError,
    find_successor,
    list_shipped,
    point_source_depth,
    resolve,
)
from lsst.resources import ResourcePath


def make_metadata(**changes: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "test",
        "classifier": "peaks",
        "settings": {"threshold": 5.0},
        "inputs": {
            "bands": ["i"],
            "footprints": {"thresholdValue": 5.0},
            "psf_sigma": [1.5, 1.6],
            "depth": None,
        },
        "prior": {"blended": 0.4},
        "training": {"seeds": [1, 2]},
        "validation": {},
        "versions": {},
    }
    return metadata | changes


def make_package(**changes: Any) -> ModelPackage:
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([1, 2], dtype=np.int32)}
    return ModelPackage("peaks", make_metadata(**changes), arrays)


def rebuild(data: bytes, *, drop: str = "", add: dict[str, bytes] | None = None, edit: Any = None) -> bytes:
    """Change a package at the level of its zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == drop:
                continue
            if name == "metadata.json" and edit is not None:
                document = json.loads(content)
                edit(document)
                content = json.dumps(document).encode()
            new.writestr(name, content)
        for name, content in (add or {}).items():
            new.writestr(name, content)
    return out.getvalue()


def test_round_trip_and_deterministic_bytes(tmp_path: Path) -> None:
    package = make_package()
    path = package.write(tmp_path / "m.blendid")
    assert path.read_bytes() == package.to_bytes() == make_package().to_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["m.blendid"]
    assert path.stat().st_mode & 0o600 == 0o600
    back = ModelPackage.read(str(path))
    assert back.classifier == "peaks" and back.name == "test" and back.bands == ("i",)
    assert back.metadata == package.metadata
    assert back.source == str(path)
    for name, array in package.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == array.dtype
    assert back.to_bytes() == package.to_bytes()


def test_order_of_arrays_does_not_matter() -> None:
    package = make_package()
    turned = ModelPackage("peaks", package.metadata, dict(reversed(package.arrays.items())))
    assert turned.to_bytes() == package.to_bytes()


@given(
    hnp.arrays(
        dtype=st.sampled_from(["f4", "f8", "i4", "i8", "u1", "b1", ">f4"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_numeric_array_survives(array: np.ndarray) -> None:
    back = ModelPackage.from_bytes(ModelPackage("peaks", make_metadata(), {"a": array}).to_bytes()).arrays[
        "a"
    ]
    assert back.shape == array.shape and back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelPackageError, match="some.file"):
        ModelPackage.from_bytes(data, "some.file")


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_damage_is_noticed_or_harmless(position: int, change: int) -> None:
    data = bytearray(make_package().to_bytes())
    data[position % len(data)] ^= change
    try:
        back = ModelPackage.from_bytes(bytes(data), "x")
    except ModelPackageError as err:
        assert str(err).startswith("x")
    else:  # a bit that zip readers do not look at, such as the date
        assert back.metadata == make_package().metadata
        for name, array in make_package().arrays.items():
            np.testing.assert_array_equal(back.arrays[name], array)


@pytest.mark.parametrize("name", list_shipped())
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_of_a_real_model_is_noticed_or_harmless(name: str, data: st.DataObject) -> None:
    package = ModelPackage.read(name)
    whole = package.to_bytes()
    damaged = bytearray(whole)
    headers = [
        m.start() + k for m in re.finditer(rb"PK\x01\x02|PK\x03\x04|PK\x05\x06", whole) for k in range(50)
    ]
    headers += [m.start() + k for m in re.finditer(rb"\x93NUMPY", whole) for k in range(128)]
    # Where a byte matters most, and anywhere.
    position = st.one_of(st.sampled_from(headers), st.integers(0, len(whole) - 1))
    for at, change in data.draw(st.lists(st.tuples(position, st.integers(1, 255)), min_size=1, max_size=4)):
        damaged[at % len(whole)] ^= change
    try:
        back = ModelPackage.from_bytes(bytes(damaged), "some.file")
    except ModelPackageError as err:
        assert str(err).startswith("some.file") and "\n" not in str(err)
    else:
        assert back.to_bytes() == whole


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_packages_are_refused(method: int) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(make_package().to_bytes())) as old,
        zipfile.ZipFile(out, "w", method) as new,
    ):
        for member in old.namelist():
            new.writestr(member, old.read(member))
    with pytest.raises(ModelPackageError, match="some.file has 'metadata.json' compressed"):
        ModelPackage.from_bytes(out.getvalue(), "some.file")


@pytest.mark.parametrize(
    "header", [b"{'descr': (", b"{'descr': 3, 'fortran_order': False, 'shape': ()}", b"]"]
)
def test_damaged_array_header_is_one_error(header: bytes) -> None:
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(ModelPackageError, match="^x is not a model package or is damaged"):
        ModelPackage.from_bytes(rebuild(make_package().to_bytes(), add={"arrays/c.npy": array}), "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("psf_sigma", [2.0, 1.0]),
        ("psf_sigma", [1.0]),
        ("psf_sigma", "wide"),
        ("depth", [26.0, None]),
        ("depth", [True, 27.0]),
        ("depth", 26.0),
        ("footprints", ["thresholdValue"]),
        ("bands", "i"),
        ("bands", [1]),
        ("footprint_variants", "clipped"),
        ("footprint_variants", [1, 2]),
        ("version", 0),
        ("version", "2"),
    ],
)
def test_inputs_of_another_form_are_refused(key: str, value: object) -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d["inputs"].update({key: value}))
    with pytest.raises(ModelPackageError, match=f"^x: metadata inputs.{key}"):
        ModelPackage.from_bytes(data, "x")


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = make_package().write(tmp_path / "m.blendid")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelPackageError, match=r"m\.blendid.*damaged"):
        ModelPackage.read(path)


def test_foreign_zip_and_extra_members_are_refused() -> None:
    data = make_package().to_bytes()
    with pytest.raises(ModelPackageError, match="no metadata.json"):
        ModelPackage.from_bytes(rebuild(data, drop="metadata.json"))
    with pytest.raises(ModelPackageError, match="evil.py"):
        ModelPackage.from_bytes(rebuild(data, add={"evil.py": b"print(1)"}))
    with pytest.raises(ModelPackageError, match="not a model package of lsst.meas.blendid"):
        ModelPackage.from_bytes(rebuild(data, edit=lambda d: d.update(format="other")))


def test_newer_format_asks_for_upgrade() -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d.update(format_version=3))
    with pytest.raises(ModelPackageError, match="format version 3.*upgrade"):
        ModelPackage.from_bytes(data)


@pytest.mark.parametrize("version", [None, 0, "1"])
def test_nonsense_version_is_refused(version: object) -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d.update(format_version=version))
    with pytest.raises(ModelPackageError, match="format version"):
        ModelPackage.from_bytes(data)


@pytest.mark.parametrize("share", ["many", 7.0, -0.1, True])
def test_a_prior_that_is_no_share_is_refused(share: object) -> None:
    with pytest.raises(ModelPackageError, match="prior.blended is"):
        make_package(prior={"blended": share}).to_bytes()


@pytest.mark.parametrize(
    "key", ["name", "classifier", "settings", "inputs", "prior", "training", "validation"]
)
def test_missing_metadata_is_named(key: str) -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d.pop(key))
    with pytest.raises(ModelPackageError, match=key):
        ModelPackage.from_bytes(data)


@pytest.mark.parametrize("settings", [None, [], "threshold=5"])
def test_settings_are_a_dict(settings: object) -> None:
    with pytest.raises(
        ModelPackageError, match="^x: metadata 'settings' is missing or no dict; train it anew"
    ):
        ModelPackage.from_bytes(
            rebuild(make_package().to_bytes(), edit=lambda d: d.update(settings=settings)), "x"
        )


def test_format_1_has_a_config() -> None:
    def turn_back(document: dict[str, Any]) -> None:
        document["format_version"] = 1
        document["config"] = document.pop("settings")

    back = ModelPackage.from_bytes(rebuild(make_package().to_bytes(), edit=turn_back))
    assert back.settings is None and back.metadata["config"] == {"threshold": 5.0}


def test_bands_must_be_a_list() -> None:
    with pytest.raises(ModelPackageError, match="bands"):
        make_package(inputs={"bands": "i"}).to_bytes()


def test_pickles_are_neither_written_nor_read() -> None:
    with pytest.raises(ModelPackageError, match="dtype object"):
        ModelPackage("peaks", make_metadata(), {"a": np.array([{}], dtype=object)}).to_bytes()
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelPackageError, match="damaged"):
        ModelPackage.from_bytes(rebuild(make_package().to_bytes(), add={"arrays/c.npy": buffer.getvalue()}))


def test_header_that_claims_a_huge_array_does_not_allocate() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**6)}
    )
    with pytest.raises(ModelPackageError, match="cut off"):
        ModelPackage.from_bytes(rebuild(make_package().to_bytes(), add={"arrays/c.npy": header.getvalue()}))


def test_zip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_package, "MAX_BYTES", 100_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", b" " * 1_000_000)
    assert len(out.getvalue()) < 10_000
    with pytest.raises(ModelPackageError, match="unpacks to 1000000 bytes"):
        ModelPackage.from_bytes(out.getvalue())
    (tmp_path / "big.blendid").write_bytes(b"0" * 200_000)
    with pytest.raises(ModelPackageError, match=r"big\.blendid has more than the 100000 bytes"):
        ModelPackage.read(tmp_path / "big.blendid")


def test_metadata_must_be_json() -> None:
    with pytest.raises(ModelPackageError, match="JSON"):
        make_package(training={"value": float("nan")}).to_bytes()
    with pytest.raises(ModelPackageError, match="JSON"):
        make_package(training={"value": object()}).to_bytes()


def test_missing_and_unknown_are_one_line_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelPackageError, match=r"nowhere\.blendid \(no such file\)") as info:
        ModelPackage.read(tmp_path / "nowhere.blendid")
    assert "\n" not in str(info.value)
    with pytest.raises(ModelPackageError, match="unknown model 'nonsense'"):
        resolve("nonsense")
    with pytest.raises(ModelPackageError, match="cannot read"):
        ModelPackage.read("resource://lsst.meas.blendid/models/nonsense.blendid")


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError("no space")

    old = make_package().write(tmp_path / "m.blendid").read_bytes()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        make_package(name="other").write(tmp_path / "m.blendid")
    assert [p.name for p in tmp_path.iterdir()] == ["m.blendid"]
    assert (tmp_path / "m.blendid").read_bytes() == old


def test_every_way_to_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_package().write(tmp_path / "m.blendid")
    make_package().write(tmp_path / "plain")
    monkeypatch.chdir(tmp_path)
    for given_name in (str(path), path, path.as_uri(), ResourcePath(path), "m.blendid", "plain"):
        assert ModelPackage.read(given_name).name == "test"


def test_shipped_models_are_readable_and_small() -> None:
    assert {"peaks-i-1", "logistic-i-1"} <= set(list_shipped())
    total = 0
    for name in list_shipped():
        package = ModelPackage.read(name)
        assert package.name == name and package.bands == (("i",) if name.endswith("-i-1") else ())
        total += len(package.to_bytes())
        assert package.metadata["training"] and package.metadata["validation"]
    assert total < 40_000_000


def test_superseded_models_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("cnn-i-1", "centers-i-1", "centers-2", "centers-localizer-i-1", "peaks-localizer-2"):
        (tmp_path / f"{name}{SUFFIX}").touch()
    monkeypatch.setattr(model_package, "_shipped_folder", lambda: tmp_path)
    assert len(list_shipped()) == 5
    assert list_shipped(current=True) == (
        "centers-2",
        "centers-localizer-i-1",
        "cnn-i-1",
        "peaks-localizer-2",
    )
    assert list_shipped("classifier", current=True) == ("centers-2", "cnn-i-1")
    assert find_successor("centers-i-1") == "centers-2"
    for name in ("cnn-i-1", "centers-2", "centers-localizer-i-1", "none"):
        assert find_successor(name) is None


def test_range() -> None:
    package = make_package(inputs={"bands": [], "psf_sigma": [1.5, 2.0], "depth": [26.0, 26.5]})
    assert package.supports_band("z")

    def outside(psf_sigma: float, depth: float | None = None) -> list[str]:
        return [v.quantity for v in package.find_violations(psf_sigma=psf_sigma, depth=depth)]

    assert outside(1.5, 26.5) == outside(2.05, 25.9) == outside(1.7) == []
    assert outside(2.2, 26.2) == outside(float("nan")) == ["PSF sigma"]
    assert outside(1.7, 27.0) == ["5-sigma depth"]
    assert outside(2.2, 27.0) == ["PSF sigma", "5-sigma depth"]
    assert make_package(inputs={"bands": ["i"]}).find_violations(psf_sigma=9.0, depth=20.0) == ()
    assert not make_package().supports_band("g")


def test_footprint_differences() -> None:
    package = make_package()
    assert package.footprint_differences({"thresholdValue": 5.0, "other": 1}) == []
    assert package.footprint_differences({"thresholdValue": 7.0}) == [
        "thresholdValue: trained with 5.0, now 7.0"
    ]


def test_depth_of_a_known_image() -> None:
    # White noise of 2 nJy and a flat 10 x 10 PSF: sigma_flux = 2 * 10 nJy, five times that is 100 nJy.
    assert point_source_depth(2.0, np.full((10, 10), 3.0)) == pytest.approx(31.4 - 5.0)
    assert np.isnan(point_source_depth(0.0, np.ones((3, 3))))


@pytest.mark.parametrize("name", ["a #%20.blendid", "mödel.blendid", "100%.blendid"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    path = ModelPackage.read("peaks-i-1").write(tmp_path / name)
    assert ModelPackage.read(str(path)).name == "peaks-i-1"
    assert ModelPackage.read(path).name == "peaks-i-1"


@pytest.mark.parametrize(
    "shares",
    [
        "abcde",
        [0.2] * 4,
        ["0.2"] * 5,
        [0.5, 0.6, -0.1, 0.0, 0.0],
        [0.1] * 5,
        [True, False, False, False, False],
        {"0": 1.0},
        1.0,
    ],
)
def test_a_prior_that_is_no_five_shares_is_refused(shares: object) -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d["prior"].update(n=shares))
    with pytest.raises(ModelPackageError, match=r"^x: metadata prior\.n is .*5 shares with sum 1; train"):
        ModelPackage.from_bytes(data, "x")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_metadata_have_finite_numbers_only(number: float) -> None:
    for part, key in (("inputs", "depth"), ("prior", "n"), ("training", "anything")):
        data = rebuild(make_package().to_bytes(), edit=lambda d: d[part].update({key: [number, 0.5]}))  # noqa: B023
        with pytest.raises(ModelPackageError, match="^x is not a model package .*number .* in metadata.json"):
            ModelPackage.from_bytes(data, "x")


def test_long_nonsense_is_cut() -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d["prior"].update(n=["many"] * 10_000))
    with pytest.raises(ModelPackageError, match="…") as err:
        ModelPackage.from_bytes(data, "x")
    assert len(str(err.value)) < 200


@pytest.mark.parametrize(
    ("description", "match"),
    [
        ("beta", "is damaged"),
        ([1.0], "is damaged"),
        ({"method": "beta"}, "lacks 'parameters'"),
        ({"method": "beta", "parameters": ["1", "2", "3"]}, "not numbers"),
        ({"method": "platt", "parameters": [[1.0], 0.0]}, "is damaged"),
        ({"method": "platt", "parameters": [1.0, 0.0], "blended_share": 2.0}, "share of 2"),
    ],
)
def test_a_calibration_that_is_none_is_refused(description: object, match: str) -> None:
    data = rebuild(make_package().to_bytes(), edit=lambda d: d.update(calibration=description))
    with pytest.raises(ModelPackageError, match=f"^x: metadata calibration: .*{match}.*; train it anew"):
        ModelPackage.from_bytes(data, "x")


@pytest.mark.parametrize("part", ["training", "validation"])
@pytest.mark.parametrize("scenes", ["all", [1, 2], {"a": 1}])
def test_scenes_that_are_no_records_are_refused(part: str, scenes: object) -> None:
    with pytest.raises(ModelPackageError, match="metadata scenes is no list of dicts"):
        make_package(**{part: {"scenes": scenes}}).to_bytes()
