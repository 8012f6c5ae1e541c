# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What a model is trained with: settings that belong to its package, and not to the config of a pipeline.

A subclass of `ModelSettings` is a frozen dataclass whose fields are made by `setting`, which says what a
value means and which ones there may be.  Values are checked once, when an instance is made, whoever made it:
a Python program, the command line (``--set name=value``), or the metadata of a model package.
"""

from __future__ import annotations

__all__ = ("ModelSettings", "SettingsError", "list_settings", "setting")

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from ._suggest import did_you_mean

_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}


class SettingsError(ValueError):
    """A setting that does not exist, or a value that it cannot have."""


def setting(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    more_than: float | None = None,
    at_most: float | None = None,
    choices: Collection[Any] | None = None,
    unique: bool = False,
    length: tuple[int, int] | None = None,
    stored: bool = True,
) -> Any:
    """Make a field of `ModelSettings`.

    Parameters
    ----------
    default
        Its default.
    doc
        What it means, with its unit.
    at_least, more_than, at_most
        Bounds of a number, or of each one of several.
    choices
        The values, or elements of the value, that there are.
    unique
        Whether no element may be there twice.
    length
        Fewest and most elements.
    stored
        Whether a package keeps it.  What only says where something lies is not kept.

    Returns
    -------
    field
        The field.
    """
    rules = {
        "doc": doc,
        "at_least": at_least,
        "more_than": more_than,
        "at_most": at_most,
        "choices": choices,
        "unique": unique,
        "length": length,
        "stored": stored,
    }
    return dataclasses.field(default=default, metadata=MappingProxyType(rules))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Base class of the settings of a model.

    Raises
    ------
    SettingsError
        Raised for a value that a setting cannot have.
    """

    old_names: ClassVar[Mapping[str, str | None]] = {}
    """Settings that release 1 of the package format has under another name, by that name; `None` for one
    that is no longer there."""

    def __post_init__(self) -> None:
        types = _find_types(type(self))
        for field in dataclasses.fields(self):
            value = _convert(field.name, getattr(self, field.name), types[field.name])
            _check(field.name, value, field.metadata)
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self) -> None:
        """Check what no setting can tell by itself.

        Raises
        ------
        SettingsError
            Raised if settings do not go together.
        """

    def to_dict(self) -> dict[str, Any]:
        """Make JSON-compatible values of what a package keeps.

        Returns
        -------
        values
            Settings by name; those of a group are a dictionary of their own.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            if field.metadata.get("stored", True):
                value = getattr(self, field.name)
                if isinstance(value, ModelSettings):
                    value = value.to_dict()
                values[field.name] = list(value) if isinstance(value, tuple) else value
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make settings from what `to_dict` made.

        Parameters
        ----------
        values
            Settings by name; what is missing has its default.

        Returns
        -------
        settings
            The settings.

        Raises
        ------
        SettingsError
            Raised for a name that there is not, or a value that a setting cannot have.
        """
        return cls()._with_values(values)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make settings from the config in a model package of format 1.

        Parameters
        ----------
        config
            Fields as pex_config named them, ``cutout.zeroOutside`` for one.

        Returns
        -------
        settings
            The settings.

        Raises
        ------
        SettingsError
            As by `from_dict`.
        """
        values: dict[str, Any] = {}
        for key, value in config.items():
            name = cls._present_name(key)
            if name is not None:
                _put(values, name, value)
        return cls.from_dict(values)

    @classmethod
    def _present_name(cls, key: str) -> str | None:
        """Name of what was a field of a config, which there need not be; `None` for one that is gone."""
        return cls.old_names.get(key, re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower())

    @classmethod
    def find_renamed(cls, key: str) -> str | None:
        """Find the setting that was the field of a config once.

        Parameters
        ----------
        key
            Name of the field as pex_config had it, ``cutout.zeroOutside`` for one.

        Returns
        -------
        name
            Name of the setting; `None` if there is none.
        """
        name = cls._present_name(key)
        return name if name in {known for known, _, _ in list_settings(cls)} else None

    def with_options(self, options: Sequence[str]) -> Self:
        """Change settings as the command line does.

        Parameters
        ----------
        options
            ``name=value`` each; the name of one in a group has that of the group before it, such as
            ``cutout.size=31``, and several values are separated by commas.

        Returns
        -------
        settings
            The changed settings.

        Raises
        ------
        SettingsError
            Raised for what is no ``name=value``, a name that there is not, or a value that a setting cannot
            have.
        """
        known = {name: kind for name, kind, _ in list_settings(type(self))}
        values: dict[str, Any] = {}
        for option in options:
            name, separator, text = option.partition("=")
            if not separator:
                raise SettingsError(f"setting {_shorten(option)} is not NAME=VALUE")
            if group := [one for one in known if one.startswith(f"{name}.")]:
                raise SettingsError(
                    f"{name} is a group of settings, which are {', '.join(group)}: give one of these"
                )
            if name not in known:
                raise SettingsError(_unknown(name, known))
            _put(values, name, _parse(name, text, known[name]))
        return self._with_values(values)

    def _with_values(self, values: Mapping[str, Any]) -> Self:
        """Replace some of the settings, in groups as well."""
        known = {field.name: field for field in dataclasses.fields(self)}
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise SettingsError(_unknown(name, known))
            old = getattr(self, name)
            if isinstance(old, ModelSettings):
                if not isinstance(value, Mapping):
                    raise SettingsError(f"{name} is {_shorten(value)}, not a group of settings")
                try:
                    value = old._with_values(value)
                except SettingsError as err:
                    raise SettingsError(f"{name}.{err}") from None
            changes[name] = value
        return dataclasses.replace(self, **changes)


def list_settings(cls: type[ModelSettings]) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """List the settings that there are, but for those that only a Python program gives.

    Parameters
    ----------
    cls
        Class of settings.

    Yields
    ------
    name
        Name, with that of its group before it.
    type
        Type of the value.
    field
        The field, with its default and, in its metadata, ``doc``.
    """
    types = _find_types(cls)
    for field in dataclasses.fields(cls):
        kind = types[field.name]
        if field.default is None:
            # One that only a Python program gives has no text.
            continue
        if isinstance(field.default, ModelSettings):
            # Defaults of a group may be others than those of its class.
            for name, inner, one in list_settings(type(field.default)):
                default = field.default
                for part in name.split("."):
                    default = getattr(default, part)
                yield f"{field.name}.{name}", inner, _with_default(one, default)
        else:
            yield field.name, kind, field


def _with_default(field: dataclasses.Field[Any], default: Any) -> dataclasses.Field[Any]:
    """The same field with another default."""
    other: dataclasses.Field[Any] = dataclasses.field(default=default, metadata=field.metadata)
    other.name = field.name
    return other


def _find_types(cls: type[ModelSettings]) -> dict[str, Any]:
    """Types of the fields, whose annotations are texts."""
    return {
        name: kind for name, kind in typing.get_type_hints(cls).items() if name in cls.__dataclass_fields__
    }


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where a name with those of its groups says."""
    *path, last = name.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{part} is {_shorten(values)}, not a group of settings")
    values[last] = value


def _unknown(name: str, known: Collection[str]) -> str:
    shown, hint = name if len(name) <= 60 else _shorten(name), did_you_mean(name[:60], known)
    return f"{shown}: there is no such setting{hint}; known are {', '.join(sorted(known))}"


def _shorten(value: object) -> str:
    """Text of a value that somebody may have written into a file."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _name_of(kind: Any) -> str:
    """Name of a type, such as ``ModelSettings | None``."""
    return getattr(kind, "__name__", str(kind))


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Give a value its type, or refuse it."""
    if isinstance(value, np.generic):
        # A NumPy scalar is as good as the number of Python.
        value = value.item()
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise SettingsError(f"{name} is {_shorten(value)}, not a list")
        return tuple(_convert(name, one, typing.get_args(kind)[0]) for one in value)
    if isinstance(value, bool) is not (kind is bool):
        raise SettingsError(f"{name} is {_shorten(value)}, not {_NAMES.get(kind) or _name_of(kind)}")
    if kind is float and isinstance(value, int):
        # An integer may be too large for it.
        value = float(value) if abs(value) < 10**300 else math.inf
    if not isinstance(value, kind):
        raise SettingsError(f"{name} is {_shorten(value)}, not {_NAMES.get(kind) or _name_of(kind)}")
    return value


def _check(name: str, value: Any, rules: Mapping[str, Any]) -> None:
    """Refuse a value that breaks the rules of a field."""
    elements = value if isinstance(value, tuple) else (value,)
    if not all(math.isfinite(one) for one in elements if isinstance(one, float)):
        raise SettingsError(f"{name} is {_shorten(value)}, which is not finite")
    bounds: tuple[tuple[str, str, Callable[[Any, Any], bool]], ...] = (
        ("at_least", "at least", lambda one, bound: one >= bound),
        ("more_than", "more than", lambda one, bound: one > bound),
        ("at_most", "at most", lambda one, bound: one <= bound),
    )
    for rule, text, holds in bounds:
        bound = rules.get(rule)
        if bound is not None and not all(holds(one, bound) for one in elements):
            raise SettingsError(f"{name} is {_shorten(value)}; it has to be {text} {bound:g}")
    choices = rules.get("choices")
    if choices is not None and not all(one in choices for one in elements):
        wrong = next(one for one in elements if one not in choices)
        hint = did_you_mean(wrong, choices) if isinstance(wrong, str) else ""
        known = ", ".join(map(str, choices)) if len(choices) <= 12 else f"{len(choices)} names"
        raise SettingsError(f"{name} is {_shorten(wrong)}{hint}; it can be one of {known}")
    if rules.get("unique") and len(set(elements)) != len(elements):
        raise SettingsError(f"{name} has repeated names")
    length = rules.get("length")
    if length is not None and not length[0] <= len(elements) <= length[1]:
        raise SettingsError(f"{name} has {len(elements)} values; it has {length[0]} to {length[1]}")


def _parse(name: str, text: str, kind: Any) -> Any:
    """Read a value from the command line."""
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_parse(name, one.strip(), inner) for one in text.strip("[]()").split(",") if one.strip())
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise SettingsError(f"{name} is {_shorten(text)}, not true or false")
        return text.lower() == "true"
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{name} is {_shorten(text)}, not {_NAMES[kind]}") from None
