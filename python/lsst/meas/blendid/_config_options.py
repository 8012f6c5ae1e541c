# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Overrides ``field=value`` of single fields of a config, parsed as ``pipetask`` does, which runs no code."""

from __future__ import annotations

__all__ = ("ConfigOptionError", "apply_option", "describe_field_error", "split_option")

from lsst.pex.config import Config, ConfigChoiceField, ConfigField, Field, FieldValidationError, ListField
from lsst.pipe.base.configOverrides import ConfigOverrides

from ._suggest import did_you_mean


class ConfigOptionError(ValueError):
    """An override that is not understood: no ``=``, no such field, or an impossible value."""


def split_option(option: str) -> tuple[str, str]:
    """Split ``field=value``; `ConfigOptionError` if it is something else."""
    field, separator, value = option.partition("=")
    if not separator or not field.strip():
        raise ConfigOptionError(f"config option {option!r} is not of the form FIELD=VALUE")
    return field.strip(), value


def apply_option(config: Config, option: str, *, field: str | None = None) -> None:
    """Apply one override; lists may be written without brackets and quotes, separated by commas.

    ``field`` is the name of the field in ``config`` where that is a part of the config that the option names
    it for.  `ConfigOptionError` if there is no such field or the value is impossible; the config is not
    validated.
    """
    name, value = split_option(option)
    # What runs of a registry is its value; ``names`` is that of one that several may be chosen from.
    field = name if field is None else field
    registry = field.removesuffix(".names").removesuffix(".name")
    if isinstance(_find_field(config, registry), ConfigChoiceField):
        field = registry
    kind = _find_field(config, field)
    if isinstance(kind, ConfigField):
        example = next(iter(kind.dtype._fields), "FIELD")
        raise ConfigOptionError(
            f"config option {option!r}: {name} is a group of fields; name one of them, as {name}.{example}"
        )
    overrides = ConfigOverrides()
    overrides.addValueOverride(field, _parse_names(kind, value))
    try:
        overrides.applyTo(config)
    except AttributeError as err:
        hint = _suggest_field(config, field)
        raise ConfigOptionError(f"config option {option!r}: there is no field {name!r}{hint}") from err
    except (FieldValidationError, TypeError, ValueError, KeyError) as err:
        raise ConfigOptionError(f"config option {option!r}: {describe_field_error(err)}") from err


def describe_field_error(err: BaseException) -> str:
    """One line of an error of pex_config, which goes on for several about where fields are defined."""
    return " ".join(str(err).split("\nFor more information")[0].split())


def _suggest_field(config: Config, field: str) -> str:
    """Say which field is like one that there is not."""
    holder: object = config
    for name in field.split("."):
        if name not in getattr(holder, "_fields", {}):
            return did_you_mean(name, getattr(holder, "_fields", {}))
        holder = getattr(holder, name)
    return ""


def _find_field(owner: Config, field: str) -> Field | None:
    """Find the definition of a field, `None` if there is no such field."""
    *path, last = field.split(".")
    holder: object = owner
    for name in path:
        holder = getattr(holder, name, None)
    return getattr(holder, "_fields", {}).get(last)


def _parse_names(kind: Field | None, value: str) -> str | list[str]:
    """Take names or numbers separated by commas for a list, as which plain text would be its letters."""
    text = value.strip()
    if isinstance(kind, ConfigChoiceField) and not kind.multi:
        return "None" if text.lower() == "none" else value
    if not isinstance(kind, ListField | ConfigChoiceField) or text.startswith(("[", "(")):
        return value
    parts = [part.strip() for part in text.split(",")] if text else []
    are_names = isinstance(kind, ConfigChoiceField) or kind.itemtype is str
    return parts if are_names else f"[{', '.join(parts)}]"
