# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Compilation of loops, with a cache where one can be written.

Compiled code is kept beside the source, or in the user's cache folder. Where
neither can be written, as in an installation that is read-only for a user
without a home, loops are compiled anew in each process, which takes some
seconds; set the environment variable ``NUMBA_CACHE_DIR`` to a writable folder
to avoid that.

Arrays of the size of an image are best made by NumPy and handed to a loop, which asks the system for huge
pages; compiled code does not, and spends more on page faults than on filling them.
"""

from __future__ import annotations

__all__ = ("njit",)

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def njit(**options: Any) -> Callable[[_Function], _Function]:
    """Compile a function with `numba.njit`, cached where that is possible.

    Parameters
    ----------
    **options
        Options of `numba.njit` other than ``cache``.

    Returns
    -------
    decorator
        Decorator of a function.
    """

    def decorate(function: _Function) -> _Function:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as err:
            if "cannot cache" not in str(err):
                raise
            return numba.njit(**options)(function)

    return decorate
