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
    from ..model_package import ModelPackage, list_shipped

    names = list_shipped()
    if not names:
        click.echo("No model comes with this installation; train one with 'blendid train'.", err=True)
        return
    rows = [("name", "classifier", "bands", "PSF sigma [pix]", "depth [mag]")]
    for name in names:
        package = ModelPackage.read(name)
        rows.append(
            (
                name,
                package.classifier,
                ",".join(package.bands) or "any",
                _interval(package.inputs.get("psf_sigma")),
                _interval(package.inputs.get("depth")),
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
    click.echo(f"{package.name}: a model of the classifier {package.classifier}, read from {package.source}")
    for section in ("inputs", "config", "prior", "training", "validation", "versions"):
        click.echo(f"\n{section}")
        _echo_tree(package.metadata.get(section) or {}, indent=2)
    _echo_arrays(package)


def _echo_tree(tree: dict[str, Any], indent: int) -> None:
    """Print nested metadata, a value per line."""
    for key, value in tree.items():
        if isinstance(value, dict):
            click.echo(f"{' ' * indent}{key}")
            _echo_tree(value, indent + 2)
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            click.echo(f"{' ' * indent}{key}")
            for item in value:
                click.echo(f"{' ' * (indent + 2)}{json.dumps(item)}")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            click.echo(f"{' ' * indent}{key}: {text}")


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
