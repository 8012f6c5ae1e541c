# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of the settings of models: those of a made-up model, and what holds for those of all of them."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lsst.meas.blendid.classifiers import FeaturesSettings, TreeSettings, classifier_registry
from lsst.meas.blendid.localizers import localizer_registry
from lsst.meas.blendid.model_settings import ModelSettings, SettingsError, list_settings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class OvenSettings(ModelSettings):
    """Settings of a group."""

    heat: float = setting(0.5, "How hot, in MK.", more_than=0.0, at_most=2.0)
    shelves: tuple[int, ...] = setting((1, 2), "Shelves in use.", at_least=1, length=(1, 3))

    def check(self) -> None:
        if self.heat > 1.0 and len(self.shelves) > 2:
            raise SettingsError(f"heat is {self.heat}; that is too much for {len(self.shelves)} shelves")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CakeSettings(ModelSettings):
    """Settings of a model."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "temperature": "oven.heat",
        "nLayers": "layers",
        "colour": None,
    }

    layers: int = setting(3, "Layers.", at_least=1, at_most=1000)
    sugar: float = setting(1.0, "Sugar, in kg.", at_least=0.0)
    is_vegan: bool = setting(False, "Whether it has no butter.")
    shape: str = setting("round", "Its shape.", choices=("round", "square"))
    fruits: tuple[str, ...] = setting(
        ("apple",), "What is in it.", choices=("apple", "pear", "cherry"), unique=True
    )
    sizes: tuple[float, ...] = setting((), "Sizes, in m.", more_than=0.0)
    candles: int = setting(0, "Candles.", choices=(0, 1, 2, 4))
    oven: OvenSettings = setting(OvenSettings(heat=0.7), "Where it is baked.")
    recipe: str = setting("", "Where the recipe lies.", stored=False)


# Values and their types


@pytest.mark.parametrize(
    ("name", "given_value", "kept"),
    [
        ("sugar", 2, 2.0),
        ("sugar", 0, 0.0),
        ("sizes", [1, 2.5], (1.0, 2.5)),
        ("fruits", ["pear"], ("pear",)),
        ("fruits", (), ()),
        ("is_vegan", True, True),
        ("layers", 1000, 1000),
    ],
)
def test_values_get_the_type_of_their_setting(name: str, given_value: Any, kept: Any) -> None:
    value = getattr(CakeSettings(**{name: given_value}), name)
    assert value == kept
    assert type(value) is type(kept)
    if isinstance(kept, tuple):
        assert [type(one) for one in value] == [type(one) for one in kept]


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        # Other types: a truth is no number, and a number no truth.
        ("layers", "3", "layers is '3', not an integer"),
        ("layers", 3.0, r"layers is 3\.0, not an integer"),
        ("layers", True, "layers is True, not an integer"),
        ("layers", None, "layers is None, not an integer"),
        ("sugar", "much", "sugar is 'much', not a number"),
        ("sugar", False, "sugar is False, not a number"),
        ("is_vegan", 1, "is_vegan is 1, not true or false"),
        ("is_vegan", "true", "is_vegan is 'true', not true or false"),
        ("shape", 4, "shape is 4, not a text"),
        ("fruits", "apple", "fruits is 'apple', not a list"),
        ("fruits", [1], "fruits is 1, not a text"),
        ("sizes", {"a": 1}, "sizes is .*, not a list"),
        ("sizes", [True], "sizes is True, not a number"),
        ("oven", {"heat": 1.0}, "oven is .*, not OvenSettings"),
        # Numbers out of bounds.
        ("layers", 0, "layers is 0; it has to be at least 1"),
        ("layers", 10**400, "layers is 1000000.*…; it has to be at most 1000"),
        ("sugar", -0.1, r"sugar is -0\.1; it has to be at least 0"),
        ("sugar", math.nan, "sugar is nan, which is not finite"),
        ("sugar", math.inf, "sugar is inf, which is not finite"),
        ("sugar", 10**400, "sugar is inf, which is not finite"),
        ("sugar", -(10**400), "sugar is .*inf, which is not finite"),
        ("sizes", (1.0, 0.0), r"sizes is \(1\.0, 0\.0\); it has to be more than 0"),
        ("sizes", (math.nan,), "sizes is .*, which is not finite"),
        # Others than there are.
        ("shape", "rond", "shape is 'rond'.*did you mean 'round'.*; it can be one of round, square"),
        ("candles", 3, "candles is 3; it can be one of 0, 1, 2, 4"),
        ("fruits", ("apple", "plum"), "fruits is 'plum'; it can be one of apple, pear, cherry"),
        ("fruits", ("pear", "pear"), "fruits has repeated names"),
    ],
)
def test_values_that_cannot_be_are_named(name: str, value: Any, match: str) -> None:
    with pytest.raises(SettingsError, match=f"^{match}"):
        CakeSettings(**{name: value})


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"shelves": ()}, "shelves has 0 values; it has 1 to 3"),
        ({"shelves": (1, 2, 3, 4)}, "shelves has 4 values; it has 1 to 3"),
        ({"heat": 0.0}, r"heat is 0\.0; it has to be more than 0"),
        ({"heat": 1.5, "shelves": (1, 2, 3)}, r"heat is 1\.5; that is too much for 3 shelves"),
    ],
)
def test_settings_that_do_not_go_together_are_named(values: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        OvenSettings(**values)
    # In a group, with the name of the group.
    with pytest.raises(SettingsError, match=rf"^oven\.{match}"):
        CakeSettings.from_dict({"oven": values})


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(SettingsError) as caught:
        CakeSettings(layers="x" * 10_000)
    assert len(str(caught.value)) < 120


def test_settings_do_not_change() -> None:
    settings = CakeSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.layers = 4  # type: ignore[misc]
    with pytest.raises(TypeError):
        CakeSettings(4)  # type: ignore[misc]
    assert settings == CakeSettings()
    assert hash(settings) == hash(CakeSettings())
    assert issubclass(SettingsError, ValueError)


# Packages


def test_what_a_package_keeps() -> None:
    settings = CakeSettings(layers=2, sizes=(1, 2), recipe="/a/drawer")
    assert settings.to_dict() == {
        "layers": 2,
        "sugar": 1.0,
        "is_vegan": False,
        "shape": "round",
        "fruits": ["apple"],
        "sizes": [1.0, 2.0],
        "candles": 0,
        "oven": {"heat": 0.7, "shelves": [1, 2]},
    }
    again = CakeSettings.from_dict(json.loads(json.dumps(settings.to_dict())))
    assert again == dataclasses.replace(settings, recipe="")


def test_what_is_missing_has_its_default() -> None:
    assert CakeSettings.from_dict({}) == CakeSettings()
    # That of the model, and not of the group.
    assert CakeSettings.from_dict({"oven": {"shelves": [3]}}).oven == OvenSettings(heat=0.7, shelves=(3,))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"layer": 3}, r"^layer: there is no such setting.*did you mean 'layers'.*known are candles, fruits"),
        ({"oven": {"heet": 1.0}}, r"^oven\.heet: there is no such setting.*did you mean 'heat'"),
        ({"oven": {"heat": "hot"}}, r"^oven\.heat is 'hot', not a number"),
        ({"oven": 3}, "^oven is 3, not a group of settings"),
        ({"oven": None}, "^oven is None, not a group of settings"),
        ({"layers": {"heat": 1}}, r"^layers is \{'heat': 1\}, not an integer"),
        ({"old_names": {}}, "^old_names: there is no such setting"),
    ],
)
def test_damaged_settings_are_refused(values: dict[str, Any], match: str) -> None:
    with pytest.raises(SettingsError, match=match):
        CakeSettings.from_dict(values)


def test_names_of_format_1() -> None:
    config = {
        "nLayers": 5,
        "isVegan": True,
        "temperature": 0.9,
        "oven.shelves": [2],
        "colour": "red",
        "fruits": ["pear", "cherry"],
    }
    assert CakeSettings.from_config(config) == CakeSettings(
        layers=5, is_vegan=True, fruits=("pear", "cherry"), oven=OvenSettings(heat=0.9, shelves=(2,))
    )
    with pytest.raises(SettingsError, match="^day_of_week: there is no such setting"):
        CakeSettings.from_config({"dayOfWeek": 3})


def test_fields_of_configs_lead_to_settings() -> None:
    found = {
        key: CakeSettings.find_renamed(key) for key in ("nLayers", "isVegan", "oven.shelves", "temperature")
    }
    assert found == {"nLayers": "layers", "isVegan": "is_vegan", "oven.shelves": "oven.shelves"} | {
        "temperature": "oven.heat"
    }
    assert CakeSettings.find_renamed("colour") is None and CakeSettings.find_renamed("dayOfWeek") is None


def test_numbers_of_numpy_are_numbers() -> None:
    given = CakeSettings(
        layers=np.int64(2), sugar=np.float32(0.5), is_vegan=np.True_, sizes=tuple(np.arange(1, 3))
    )
    assert given == CakeSettings(layers=2, sugar=0.5, is_vegan=True, sizes=(1.0, 2.0))
    json.dumps(given.to_dict())
    with pytest.raises(SettingsError, match="^layers is 2.5, not an integer"):
        CakeSettings(layers=np.float64(2.5))  # type: ignore[arg-type]


# The command line


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("layers=7", "layers", 7),
        ("sugar=2", "sugar", 2.0),
        ("sugar=1e-3", "sugar", 0.001),
        ("is_vegan=True", "is_vegan", True),
        ("is_vegan=false", "is_vegan", False),
        ("shape=square", "shape", "square"),
        ("recipe=/a=b", "recipe", "/a=b"),
        ("fruits=pear,apple", "fruits", ("pear", "apple")),
        ("fruits= pear, apple ,", "fruits", ("pear", "apple")),
        ("fruits=", "fruits", ()),
        ("sizes=[1, 2.5]", "sizes", (1.0, 2.5)),
        ("sizes=(3)", "sizes", (3.0,)),
        ("oven.heat=0.2", "oven", OvenSettings(heat=0.2)),
        ("oven.shelves=1,3", "oven", OvenSettings(heat=0.7, shelves=(1, 3))),
    ],
)
def test_options_are_read(option: str, name: str, value: Any) -> None:
    settings = CakeSettings().with_options([option])
    assert settings == dataclasses.replace(CakeSettings(), **{name: value})


def test_several_options() -> None:
    start = CakeSettings(layers=9, sugar=0.5)
    options = ["oven.heat=0.2", "oven.shelves=3", "sugar=2", "sugar=3"]
    assert start.with_options(options) == CakeSettings(
        layers=9, sugar=3.0, oven=OvenSettings(heat=0.2, shelves=(3,))
    )
    assert start.with_options([]) == start
    assert start == CakeSettings(layers=9, sugar=0.5)
    # What goes together only as a whole is looked at as a whole.
    both = ["oven.shelves=1,2,3", "oven.heat=0.9"]
    assert len(CakeSettings().with_options(both).oven.shelves) == 3


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("oven=5", r"^oven is a group of settings, which are oven\.heat, oven\.shelves: give one"),
        ("layers", "^setting 'layers' is not NAME=VALUE"),
        ("", "^setting '' is not NAME=VALUE"),
        ("=3", "^: there is no such setting"),
        ("layer=3", "^layer: there is no such setting.*did you mean 'layers'.*oven.heat, oven.shelves"),
        ("oven.heta=3", r"^oven\.heta: there is no such setting.*did you mean 'oven\.heat'"),
        ("heat=3", "^heat: there is no such setting"),
        ("oven.heat.more=1", "^oven.heat.more: there is no such setting"),
        ("layers=three", "^layers is 'three', not an integer"),
        ("layers=3.5", r"^layers is '3\.5', not an integer"),
        ("layers=", "^layers is '', not an integer"),
        ("is_vegan=yes", "^is_vegan is 'yes', not true or false"),
        ("sizes=1,big", "^sizes is 'big', not a number"),
        ("sugar=nan", "^sugar is nan, which is not finite"),
        ("sugar=1e999", "^sugar is inf, which is not finite"),
        ("oven.heat=9", r"^oven\.heat is 9\.0; it has to be at most 2"),
        ("shape=", "^shape is ''.*it can be one of round, square"),
        ("layers=" + "9" * 5000, "^layers is '?9999.*"),
    ],
)
def test_options_that_cannot_be_are_named(option: str, match: str) -> None:
    with pytest.raises(SettingsError, match=match) as caught:
        CakeSettings().with_options([option])
    assert len(str(caught.value)) < 300


def test_settings_are_listed_with_their_groups() -> None:
    listed = {name: (kind, field.default) for name, kind, field in list_settings(CakeSettings)}
    assert listed == {
        "layers": (int, 3),
        "sugar": (float, 1.0),
        "is_vegan": (bool, False),
        "shape": (str, "round"),
        "fruits": (tuple[str, ...], ("apple",)),
        "sizes": (tuple[float, ...], ()),
        "candles": (int, 0),
        # The default of the model, and not of the group.
        "oven.heat": (float, 0.7),
        "oven.shelves": (tuple[int, ...], (1, 2)),
        "recipe": (str, ""),
    }
    fields = {name: field for name, _, field in list_settings(CakeSettings)}
    assert fields["oven.heat"].metadata["doc"] == "How hot, in MK."
    assert fields["oven.heat"].name == "heat"
    assert OvenSettings().heat == 0.5
    assert list(list_settings(ModelSettings)) == []


# All models


ALL = {
    f"{kind} {name}": registry[name].SettingsClass
    for kind, registry in (("classifier", classifier_registry), ("localizer", localizer_registry))
    for name in registry
}
each_model = pytest.mark.parametrize("cls", ALL.values(), ids=ALL.keys())


@each_model
def test_settings_of_all_models_are_documented(cls: type[ModelSettings]) -> None:
    for name, kind, field in list_settings(cls):
        assert field.metadata["doc"].endswith("."), name
        inner = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
        assert inner in (int, float, bool, str), name


@each_model
def test_old_names_lead_to_settings(cls: type[ModelSettings]) -> None:
    known = {name for name, _, _ in list_settings(cls)}
    assert {name for name in cls.old_names.values() if name is not None} <= known


@each_model
def test_defaults_are_what_options_say(cls: type[ModelSettings]) -> None:
    options = []
    for name, _, field in list_settings(cls):
        value = field.default
        options.append(f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
    assert cls().with_options(options) == cls()


def values_of(kind: Any, field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that a setting can have."""
    rules = field.metadata
    low = rules["at_least"] if rules["more_than"] is None else rules["more_than"]
    if typing.get_origin(kind) is tuple:
        fewest, most = rules["length"] or (0, 4)
        one = values_of(typing.get_args(kind)[0], field)
        lists = st.lists(one, min_size=fewest, max_size=min(most, fewest + 4), unique=rules["unique"])
        return lists.map(tuple)
    if rules["choices"] is not None:
        return st.sampled_from(list(rules["choices"]))
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(None if low is None else math.ceil(low), rules["at_most"])
    if kind is float:
        return st.floats(
            low,
            rules["at_most"],
            exclude_min=rules["more_than"] is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    # A text may have to be a name, such as that of a classifier.
    return st.sampled_from([field.default, "features"])


@each_model
@given(data=st.data())
def test_settings_of_all_models_go_through_packages(cls: type[ModelSettings], data: st.DataObject) -> None:
    listed = [(name, kind, field) for name, kind, field in list_settings(cls) if field.metadata["stored"]]
    chosen = data.draw(st.lists(st.sampled_from(listed), unique_by=lambda one: one[0], max_size=3))
    values: dict[str, Any] = {}
    for name, kind, field in chosen:
        *path, last = name.split(".")
        group = values
        for part in path:
            group = group.setdefault(part, {})
        group[last] = data.draw(values_of(kind, field))
    try:
        settings = cls.from_dict(values)
    except SettingsError:
        # Each by itself can be, and they do not go together.
        assume(False)
    for name, _, _ in chosen:
        made, wanted = settings, values
        for part in name.split("."):
            made, wanted = getattr(made, part), wanted[part]
        assert made == wanted
    again = cls.from_dict(json.loads(json.dumps(settings.to_dict(), allow_nan=False)))
    assert again == settings
    assert again.to_dict() == settings.to_dict()


@each_model
@given(
    value=st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.lists(st.floats()))
)
def test_errors_of_all_models_name_the_setting(cls: type[ModelSettings], value: Any) -> None:
    """Whatever somebody writes into a file, there is either a setting or an error that says where."""
    known = [name for name, _, _ in list_settings(cls)]
    for name in known:
        nested = value
        for part in reversed(name.split(".")):
            nested = {part: nested}
        try:
            settings = cls.from_dict(nested)
        except SettingsError as err:
            message = str(err)
            assert len(message) < 1000
            # Of settings that do not go together the error may name the other one, or its group.
            assert message.startswith((*known, *(one.partition(".")[0] + "." for one in known)))
        else:
            json.dumps(settings.to_dict(), allow_nan=False)


def test_names_of_any_length_and_groups_that_are_none() -> None:
    with pytest.raises(SettingsError) as caught:
        TreeSettings.from_dict({"n" * 100_000: 1})
    assert len(str(caught.value)) < 1000
    # A file of format 1 may have anything where a group belongs.
    with pytest.raises(SettingsError, match="^trees is 5, not a group of settings"):
        FeaturesSettings.from_config({"trees": 5, "iterations": 100})
