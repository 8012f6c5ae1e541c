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

from .shipped import add_shipped_counts, train_shipped_models


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
    parser.add_argument(
        "--counts-only",
        action="store_true",
        help="train none, but learn the numbers of galaxies beyond P(N) anew, of models in the folder or of "
        "the shipped ones; all else of them stays",
    )
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        if options.counts_only:
            add_shipped_counts(options.out, options.truths, models=options.models, report=say)
            return 0
        train_shipped_models(
            options.out,
            options.truths,
            models=options.models,
            checkpoints=options.checkpoints,
            report=say,
        )
    except (OSError, ValueError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
