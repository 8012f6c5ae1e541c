# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid where``: the folder of what comes with the package."""

from __future__ import annotations

__all__ = ("where",)

from pathlib import Path

import click

from ._common import common_options


@click.command()
@common_options
def where() -> None:
    """Print the folder that has pipelines/, config/ and models/.

    \b
    Examples:
      blendid where
      pipetask run -C blendIdentification:$(blendid where)/config/buchanan2022.py ...
    """  # noqa: D301
    click.echo(str(Path(__file__).resolve().parents[1]))
