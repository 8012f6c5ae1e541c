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

numba's own cache is used only if it can be written, holds code for one model of processor, goes by the file
of a loop alone although the code of other files is inlined in it, and numbers its files: two processes that
write at the same time may each find the code of the other. Here a file is named after all that its content
depends on, so that it needs no index, and one that fits is used wherever it lies.
"""

from __future__ import annotations

__all__ = (
    "KernelCache",
    "is_supported",
    "njit",
    "portable_target",
)

import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import caching
from numba.core.compiler import CompileResult

_V3 = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
"""What LLVM's target ``x86-64-v3`` needs: any server since 2013 (Intel) or 2015 (AMD)."""


def portable_target(features: str) -> str:
    """Name the processor, as LLVM does, that code is compiled for if others shall run it too.

    ``features`` is what this one has, as LLVM tells it: ``+fma,-avx512f,…``.
    """
    return "x86-64-v3" if {f"+{name}" for name in _V3} <= set(features.split(",")) else "generic"


def is_supported() -> bool:
    """Tell whether this release of numba has the inner parts that `KernelCache` is made of."""
    return all(
        hasattr(owner, name)
        for owner, name in (
            (caching.IndexDataCacheFile, "_load_data"),
            (caching.IndexDataCacheFile, "_save_data"),
            (caching, "UserProvidedCacheLocator"),
            (caching, "UserWideCacheLocator"),
            (CompileResult, "_reduce"),
            (CompileResult, "_rebuild"),
        )
    )


class KernelCache:
    """Cache of the compiled code of one function.

    Parameters
    ----------
    function
        The Python function.
    options
        How it is compiled: options of `numba.njit`.
    """

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._function = function
        self._options = options
        self._enabled = True

    @cached_property
    def _folders(self) -> tuple[Path, Path | None, Path | None]:
        """Beside the source, in the folder of the environment variable, in the user's folder."""
        path = inspect.getfile(self._function)
        named = None
        if getattr(caching.config, "CACHE_DIR", ""):
            named = Path(caching.UserProvidedCacheLocator(self._function, path).get_cache_path())
        user = Path(caching.UserWideCacheLocator(self._function, path).get_cache_path())
        # A user without a home has `~` in the working folder, where anybody may have put code.
        return Path(path).parent / "__pycache__", named, user if user.is_absolute() else None

    @cached_property
    def _stamp(self) -> str:
        options = [f"{k}={sorted(v) if isinstance(v, set) else v}" for k, v in sorted(self._options.items())]
        return _hash(*options, *_ingredients(self._function, set()))

    @property
    def cache_path(self) -> str | None:
        """Folder that code is written to first."""
        beside, named, _ = self._folders
        return str(named or beside)

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """Find the code for types of arguments, ready to be called; `None` if there is none that fits."""
        if not self._enabled:
            return None
        target_context.refresh()
        triple, cpu, features = target_context.codegen().magic_tuple()
        for folder in filter(None, self._folders):
            for target in ((triple, portable_target(features), ""), (triple, cpu, features)):
                try:
                    kept, data = _files(folder)._load_data(self._file_name(sig, target))
                    if kept == self._key(sig, target):
                        return CompileResult._rebuild(target_context, *data)
                except (
                    Exception
                ):  # Missing, or whatever a damaged file leads to: it is compiled and written anew.
                    continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for types of arguments where that is possible."""
        if not self._enabled or data.library.has_dynamic_globals:
            return
        target = data.codegen.magic_tuple()
        content = (self._key(sig, target), data._reduce())
        beside, named, user = self._folders
        for folder in filter(None, (named, beside, user)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _files(folder)._save_data(self._file_name(sig, target), content)
            except OSError:
                continue
            return

    def enable(self) -> None:
        """Use the cache."""
        self._enabled = True

    def disable(self) -> None:
        """Do not use the cache."""
        self._enabled = False

    def flush(self) -> None:
        """Leave files as they are: another process may use them, and one that is outdated is not loaded."""

    def _key(self, sig: Any, target: tuple[str, str, str]) -> tuple[str, str, str]:
        """All that the code depends on."""
        return repr(sig), repr(target), self._stamp

    def _file_name(self, sig: Any, target: tuple[str, str, str]) -> str:
        # Without the stamp, so that the code of an older version of the source is replaced; with numba's
        # version, because another one could not even read the file.
        name = f"{self._function.__module__.rsplit('.', 1)[-1]}.{self._function.__qualname__}"
        facts = _hash(repr(sig), repr(target), numba.__version__, sys.version)
        return f"{name.replace('<', '').replace('>', '')}-{facts[:20]}.nbc"


def _files(folder: Path) -> caching.IndexDataCacheFile:
    """Make numba's reader and writer of files, which replaces them as a whole."""
    return caching.IndexDataCacheFile(str(folder), "", None)


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


@cache
def _hash_file(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _ingredients(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> Iterator[str]:
    """Describe what code is made of: sources of a function and of those it calls, and constants."""
    seen.add(function)
    yield _hash_file(inspect.getfile(function))
    names = {name: function.__globals__.get(name) for name in sorted(_names(function.__code__))}
    cells = {
        name: cell.cell_contents
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    }
    for name, value in (names | cells).items():
        # Of a loop, or of what makes instructions (`numba.extending.intrinsic`).
        called = getattr(value, "py_func", None) or getattr(value, "_defn", None)
        if called is not None:
            if called not in seen:
                yield from _ingredients(called, seen)
        elif isinstance(value, np.ndarray):
            yield f"{name}={value.dtype}{value.shape}{value.tobytes().hex()}"
        elif isinstance(value, (bool, int, float, complex, str, tuple, np.generic)):
            yield f"{name}={value!r}"


def _names(code: types.CodeType) -> Iterator[str]:
    """Global names that a function and the functions in it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


_Function = TypeVar("_Function", bound=Callable[..., Any])


def njit(**options: Any) -> Callable[[_Function], _Function]:
    """Compile a function with `numba.njit` and its options other than ``cache``, cached where possible."""

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
