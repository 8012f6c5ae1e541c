# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Compilation of loops, with a cache that may be read-only.

Compiled code is looked for beside the source, where ``blendid compile`` puts it once for all users of an
installation, in the folder that the environment variable ``NUMBA_CACHE_DIR`` names, and in the user's cache
folder. What is in none of them is compiled, and kept in the first of them that can be written: that of the
environment variable before the others. Where none can, it is compiled anew in each process.

Arrays of the size of an image are best made by NumPy and handed to a loop, which asks the system for huge
pages; compiled code does not, and spends more on page faults than on filling them.
"""

from __future__ import annotations

__all__ = ("njit",)

from collections.abc import Callable
from typing import Any, TypeVar

import numba

from ._jit_cache import KernelCache, is_supported

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
        if not is_supported():
            return _njit_of_numba(function, options)
        kernel = numba.njit(**options)(function)
        if hasattr(kernel, "_cache"):  # It is the function itself where NUMBA_DISABLE_JIT is set.
            # The same as numba's `enable_caching`, which would look for a folder to write to.
            kernel._cache = KernelCache(function, options)
        return kernel

    return decorate


def _njit_of_numba(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Compile with numba's own cache, which is used only where it can be written."""
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as err:
        if "cannot cache" not in str(err):
            raise
        return numba.njit(**options)(function)
