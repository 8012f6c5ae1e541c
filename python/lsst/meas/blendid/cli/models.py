# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid models``: what models there are and what they are good for."""

from __future__ import annotations

__all__ = ("models",)

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ._common import common_options

if TYPE_CHECKING:
    from ..model_package import ModelPackage


@click.group()
@common_options
def models() -> None:
    """Show the trained models that can be used.

    \b
    Examples:
      blendid models list
      blendid models show logistic-i-1
      blendid models show my_model.blendid
    """  # noqa: D301


@models.command("list")
@common_options
def list_models() -> None:
    """List the models that come with the package."""
    from ..model_package import ModelPackage, find_successor, list_shipped

    names = list_shipped()
    if not names:
        click.echo("No model comes with this installation; train one with 'blendid train'.", err=True)
        return
    rows = [("name", "model of", "bands", "PSF sigma [pix]", "depth [mag]", "")]
    for name in names:
        package = ModelPackage.read(name)
        rows.append(
            (
                name,
                package.classifier
                if package.kind == "classifier"
                else f"{package.kind} {package.classifier}",
                ",".join(package.bands) or "any",
                _interval(package.inputs.get("psf_sigma")),
                _interval(package.inputs.get("depth")),
                "" if (successor := find_successor(name)) is None else f"superseded by {successor}",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@models.command("show")
@click.argument("name", metavar="NAME|PATH")
@click.option("--json", "as_json", is_flag=True, help="Print the metadata as JSON.")
@common_options
def show_model(name: str, as_json: bool) -> None:
    """Show how a model was trained, for which inputs, and how good it is.

    \b
    Examples:
      blendid models show logistic-i-1
      blendid models show my_model.blendid --json
    """  # noqa: D301
    from ..model_package import ModelPackage

    package = ModelPackage.read(name)
    if as_json:
        click.echo(json.dumps(package.metadata, indent=1, sort_keys=True))
        return
    click.echo(
        f"{package.name}: a model of the {package.kind} {package.classifier}, read from {package.source}"
    )
    # Packages of format 1 have a config instead of settings.
    settings = "config" if package.settings is None else "settings"
    for section in ("inputs", settings, "prior", "calibration", "training", "validation", "versions"):
        click.echo(f"\n{section}")
        _echo_tree(package.metadata.get(section) or {}, indent=2)
    _echo_arrays(package)


_MOST_ROWS = 4
"""Lists of more things than this are summarised."""


def _echo_tree(tree: dict[str, Any], indent: int) -> None:
    """Print nested metadata, a value per line."""
    for key, value in tree.items():
        if isinstance(value, dict):
            click.echo(f"{' ' * indent}{key}")
            _echo_tree(value, indent + 2)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            click.echo(f"{' ' * indent}{key}{f': {len(value)}' if len(value) > _MOST_ROWS else ''}")
            for line in _summarize(value) if len(value) > _MOST_ROWS else map(json.dumps, value):
                click.echo(f"{' ' * (indent + 2)}{line}")
        elif isinstance(value, list) and len(value) > 3 * _MOST_ROWS and _is_numeric(value):
            # A curve of the training.
            numbers = [v for v in value if v is not None]
            ends = f"{numbers[0]:g} to {numbers[-1]:g}, least {min(numbers):g}, greatest {max(numbers):g}"
            click.echo(f"{' ' * indent}{key}: {len(value)} values, {ends}")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            click.echo(f"{' ' * indent}{key}: {text}")


def _is_numeric(values: list[Any]) -> bool:
    """Whether a list is one of numbers, perhaps with gaps."""
    return any(v is not None for v in values) and all(
        v is None or isinstance(v, (int, float)) for v in values
    )


def _summarize(rows: list[dict[str, Any]]) -> list[str]:
    """Say what many records have, a line for each of their facts."""
    lines = []
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        texts = Counter(v if isinstance(v, str) else json.dumps(v, sort_keys=True) for v in values)
        if len(texts) == 1:
            text = next(iter(texts)) + (f" ({len(values)} of them)" if len(values) < len(rows) else "")
        elif len(texts) <= 2 * _MOST_ROWS and len(texts) < len(values):
            text = ", ".join(f"{n} × {value}" for value, n in texts.items())
        elif _is_numeric(values) and not all(isinstance(v, bool) for v in values):
            text = f"{min(values)} to {max(values)}"
        else:
            text = f"{len(texts)} different ones, such as {next(iter(texts))}"
        lines.append(f"{key}: {text}")
    return lines


def _echo_arrays(package: ModelPackage) -> None:
    """Print names, shapes and types of the arrays."""
    click.echo("\narrays")
    for key, array in sorted(package.arrays.items()):
        click.echo(f"  {key}: {' × '.join(map(str, array.shape)) or 'scalar'} {array.dtype}")


def _interval(limits: Any) -> str:
    """Format a trained range."""
    if not isinstance(limits, (list, tuple)) or len(limits) != 2:
        return "any"
    return f"{limits[0]:.3g} to {limits[1]:.3g}"
