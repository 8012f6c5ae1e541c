# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""How many stamps each split gets."""

from __future__ import annotations

__all__ = ("check_counts", "check_seed")

import operator
from collections.abc import Mapping

from .._errors import SimulationError
from .stamp_set import SPLITS


def check_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Complete and check numbers of stamps.

    Parameters
    ----------
    counts
        Number of stamps of some splits.

    Returns
    -------
    complete
        That of each of `SPLITS`, 0 where none was given.

    Raises
    ------
    SimulationError
        Raised for an unknown split, a number that is not whole or is negative, or no stamp at all.
    """
    unknown = sorted(set(counts) - set(SPLITS))
    if unknown:
        raise SimulationError(f"unknown split {unknown[0]!r}; there are {', '.join(SPLITS)}")
    try:
        complete = {name: operator.index(counts.get(name, 0)) for name in SPLITS}
    except TypeError:
        raise SimulationError(f"the numbers of stamps must be whole: {dict(counts)}") from None
    if min(complete.values()) < 0 or not any(complete.values()):
        raise SimulationError(f"the numbers of stamps must not be negative, nor all 0: {complete}")
    return complete


def check_seed(seed: int) -> None:
    """Check a seed.

    Parameters
    ----------
    seed
        The seed.

    Raises
    ------
    SimulationError
        Raised if it is negative.
    """
    if seed < 0:
        raise SimulationError(f"a seed must not be negative, not {seed}")
