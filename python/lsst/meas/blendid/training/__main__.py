# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Make the models that come with this package.

The same versions give the same bytes on the same kind of processor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .shipped import train_shipped_models


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the shipped models.

    Parameters
    ----------
    arguments
        Command-line arguments; those of the process if `None`.

    Returns
    -------
    status
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m lsst.meas.blendid.training", description=__doc__)
    parser.add_argument(
        "--truths", help="folder that holds buchanan2022/scene_00.fits (default: $BLENDID_DATA)"
    )
    parser.add_argument("--out", required=True, help="existing folder to write the models to")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="models to make (default: all)")
    parser.add_argument("--checkpoints", help="folder for checkpoints, from which a killed run goes on")
    options = parser.parse_args(arguments)
    try:
        train_shipped_models(
            options.out,
            options.truths,
            models=options.models,
            checkpoints=options.checkpoints,
            report=lambda line: print(line, flush=True),
        )
    except (OSError, ValueError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
