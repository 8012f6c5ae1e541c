# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Compilation, and where compiled code is kept and found."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import astropy.io.fits
import pytest
from lsst.meas.blendid._jit import KernelCache, is_supported, njit
from lsst.meas.blendid.cli.compile import make_pixels
from numba.core import caching
from numba.core.caching import IndexDataCacheFile

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import toy_package.kernels as kernels
print(kernels.total(np.arange(5.0)), sum(kernels.total.stats.cache_misses.values()))
"""

KERNELS = """
from lsst.meas.blendid._jit import njit
from .inner import add
FACTOR = 1

@njit(nogil=True)
def total(values):
    s = 0.0
    for v in values:
        s = add(s, v)
    return FACTOR * s
"""

INNER = """
from lsst.meas.blendid._jit import njit

@njit()
def add(a, b):
    return a + b
"""

CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24


def forget_superuser() -> None:
    """Let the modes of files hold for a child process of the superuser too."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def make_toy(folder: Path) -> Path:
    package = folder / "toy_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "kernels.py").write_text(KERNELS)
    (package / "inner.py").write_text(INNER)
    return package


def start(command: list[str], home: Path, **more: str) -> subprocess.Popen[str]:
    """Start a program with a home of its own and without right to write where modes forbid it."""
    unset = ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
    env = {k: v for k, v in os.environ.items() if k not in unset}
    env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **more}
    return subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=forget_superuser,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.strip()


def run_toy(folder: Path, home: Path, **more: str) -> tuple[float, int]:
    """Result of the toy, and how often it was compiled."""
    result, compiled = finish(start([sys.executable, "-B", "-c", SCRIPT, str(folder)], home, **more)).split()
    return float(result), int(compiled)


def set_writable(folder: Path, writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755 if writable else 0o555)


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Make folders read-only for the time of a test."""
    folders: list[Path] = []

    def lock(folder: Path) -> None:
        folders.append(folder)
        set_writable(folder, False)

    yield lock
    for folder in folders:
        set_writable(folder, True)


def codes(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nbc"))


def test_cached_beside_the_source(tmp_path: Path) -> None:
    package = make_toy(tmp_path)
    assert run_toy(tmp_path, tmp_path / "home") == (10.0, 1)
    assert len(codes(package / "__pycache__")) == 2
    assert run_toy(tmp_path, tmp_path / "home") == (10.0, 0)
    assert codes(tmp_path / "home") == []


def test_read_only_cache_of_another_processor_is_used(
    tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    """As where an installation has been compiled once, and a user cannot write anywhere."""
    from lsst.meas.blendid._jit import portable_target
    from numba.core.codegen import get_host_cpu_features

    package = make_toy(tmp_path / "installed")
    target = portable_target(get_host_cpu_features())
    made = {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    assert run_toy(package.parent, tmp_path / "home", **made) == (10.0, 1)
    before = codes(package)
    # Copies and packages change dates.
    for path in package.rglob("*"):
        os.utime(path, (1e9, 1e9))
    copy = shutil.copytree(package.parent, tmp_path / "copy")
    read_only(tmp_path / "copy")
    (tmp_path / "nothing").mkdir(mode=0o555)
    assert run_toy(copy, tmp_path / "nothing") == (10.0, 0)
    assert [p.name for p in codes(copy)] == [p.name for p in before]
    # What was made for one very processor is not used on another.
    assert run_toy(copy, tmp_path / "nothing", NUMBA_CPU_NAME="core2", NUMBA_CPU_FEATURES="") == (10.0, 1)


def test_home_is_used_where_the_installation_is_read_only(
    tmp_path: Path, read_only: Callable[[Path], None]
) -> None:
    package = make_toy(tmp_path / "installed")
    read_only(tmp_path / "installed")
    for misses in (1, 0):
        assert run_toy(package.parent, tmp_path / "home") == (10.0, misses)
    assert len(codes(tmp_path / "home")) == 2
    for misses in (1, 0):
        folder = {"NUMBA_CACHE_DIR": str(tmp_path / "named"), "HOME": str(tmp_path / "other")}
        folder["XDG_CACHE_HOME"] = folder["HOME"]
        assert run_toy(package.parent, tmp_path / "other", **folder) == (10.0, misses)
    assert len(codes(tmp_path / "named")) == 2
    assert not (tmp_path / "other").exists()


def test_user_without_a_home(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    """There is no folder of the user then, and none in the working folder is taken for it."""
    make_toy(tmp_path / "installed")
    read_only(tmp_path / "installed")
    work = tmp_path / "work"
    work.mkdir()
    script = f"import os\nos.chdir({str(work)!r})\n{SCRIPT}"
    command = [sys.executable, "-B", "-c", script, str(tmp_path / "installed")]
    for _ in range(2):
        assert finish(start(command, work, HOME="~", XDG_CACHE_HOME="no/cache")) == "10.0 1"
    assert not list(work.iterdir())


def test_works_without_a_folder_for_the_cache(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    make_toy(tmp_path)
    read_only(tmp_path)
    for _ in range(2):
        assert run_toy(tmp_path, tmp_path / "home") == (10.0, 1)


@pytest.mark.parametrize(
    ("file", "before", "after", "result"),
    [
        ("kernels.py", "s = 0.0", "s = 1.0", 11.0),
        # Numba itself looks at neither of these.
        ("kernels.py", "FACTOR = 1", "FACTOR = 2", 20.0),
        ("inner.py", "a + b", "a - b", -10.0),
    ],
)
def test_changed_source_is_compiled(
    tmp_path: Path, file: str, before: str, after: str, result: float
) -> None:
    package = make_toy(tmp_path)
    assert run_toy(tmp_path, tmp_path / "home") == (10.0, 1)
    path = package / file
    date = path.stat()
    path.write_text(path.read_text().replace(before, after))
    os.utime(path, ns=(date.st_atime_ns, date.st_mtime_ns))
    assert run_toy(tmp_path, tmp_path / "home") == (result, 1)
    assert run_toy(tmp_path, tmp_path / "home") == (result, 0)
    # The old code was replaced.
    assert len(codes(tmp_path)) == 2


def test_damaged_code_is_compiled_anew(tmp_path: Path) -> None:
    make_toy(tmp_path)
    run_toy(tmp_path, tmp_path / "home")
    for path in codes(tmp_path):
        path.write_bytes(path.read_bytes()[:-50])
    assert run_toy(tmp_path, tmp_path / "home") == (10.0, 1)
    assert run_toy(tmp_path, tmp_path / "home") == (10.0, 0)


def test_processes_that_compile_at_the_same_time(tmp_path: Path) -> None:
    """Of different targets and types, which numba's own cache may mix up."""
    make_toy(tmp_path)
    script = SCRIPT.replace("np.arange(5.0)", "np.arange(5, dtype=sys.argv[2])")
    commands = [
        ([sys.executable, "-B", "-c", script, str(tmp_path), dtype], target)
        for dtype in ("f4", "i8")
        for target in ("generic", "core2")
    ]

    def run_all() -> list[str]:
        home = tmp_path / "home"
        running = [start(c, home, NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="") for c, target in commands]
        return [finish(process) for process in running]

    # One that starts late, on a busy machine, may find what another one has compiled.
    assert set(run_all()) <= {"10.0 1", "10.0 0"}
    assert run_all() == ["10.0 0"] * 4
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_full_disk_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core.caching import IndexDataCacheFile

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", fail)

    @njit()
    def double(x: float) -> float:
        return 2.0 * x

    assert double(2.0) == 4.0


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("numba.njit", refuse)
    with pytest.raises(RuntimeError, match="no compiler"):
        njit()(lambda: None)


def test_every_kernel_is_cached(repo_root: Path) -> None:
    package = repo_root / "python" / "lsst" / "meas" / "blendid"
    direct = [
        path.name
        for path in package.rglob("*.py")
        if "import numba" in path.read_text() and not path.name.startswith("_jit")
    ]
    assert direct == []


@pytest.mark.slow
def test_compiled_installation(tmp_path: Path, repo_root: Path, read_only: Callable[[Path], None]) -> None:
    """`blendid compile` once, then the first run of a user who can write nothing but the tables."""
    package = tmp_path / "installed"
    ignore = shutil.ignore_patterns("*.nbc", "*.nbi", "*.pyc")
    shutil.copytree(repo_root / "python", package, ignore=ignore)
    code = "from lsst.meas.blendid.cli import main\nmain()\n"
    blendid = [sys.executable, "-c", code]
    where = {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    out = finish(start([*blendid, "compile"], tmp_path / "owner", **where))
    assert re.search(r"installed/lsst/meas/blendid: \d+ files of compiled code", out)
    assert len(codes(package)) > 50
    assert codes(tmp_path / "owner") == []
    read_only(package)
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    image, tables = tmp_path / "image.fits", tmp_path / "tables"
    astropy.io.fits.writeto(image, make_pixels())
    options = ["run", str(image), "--out", str(tables), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    count = "import numba.core.event as ev\nfound = ev.install_recorder('numba:compile').__enter__()\n"
    count += "import atexit\natexit.register(lambda: print('compiled', len(found.buffer)))\n"
    out = finish(start([sys.executable, "-c", count + code, *options], home, **where))
    assert out.endswith("compiled 0")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{after.ru_utime - used.ru_utime:.1f} s of the processor")
    assert codes(home) == []
    assert sum(1 for _ in tables.iterdir()) == 3


def test_numba_with_other_inner_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own cache is used then."""
    # Not beside this file, where the next run would find the code and read it with what is taken away here.
    monkeypatch.setattr(caching.config, "CACHE_DIR", str(tmp_path))

    def half(value: float) -> float:
        return 0.5 * value

    assert is_supported() and isinstance(njit()(half)._cache, KernelCache)
    monkeypatch.delattr(IndexDataCacheFile, "_load_data")
    assert not is_supported()
    kernel = njit()(half)
    assert kernel(3.0) == 1.5 and not isinstance(kernel._cache, KernelCache)
    assert list(tmp_path.rglob("*.nbi"))
