# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Rules that hold for the source tree as a whole."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "lsst" / "meas" / "blendid"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "version.py")
MAX_LINE_LENGTH = 110

# What may be imported from each part, besides the modules at the top of the package that anything may use.
# A part that is missing here is at the top: tasks and commands may use everything.
_CORE = {"model_settings", "footprints", "images", "flags", "errors"}
_DATA = _CORE | {"samples", "cutouts", "labels", "model_package", "calibration"}
_MEASUREMENTS = {"features", "networks", "centers"}
_PLUGINS = {"plugin_registry", "trained_plugin"}
_CLASSIFIERS = _DATA | _MEASUREMENTS | _PLUGINS | {"classifiers"}
_LOCALIZERS = _CLASSIFIERS | {"peak_matching", "located_peaks", "localizers"}
ALLOWED_IMPORTS = {
    "model_settings": set(),
    "flags": set(),
    "errors": set(),
    "ids": set(),
    "psf": {"images"},
    "footprints": _CORE,
    "samples": _CORE | {"cutouts"},
    "cutouts": _CORE,
    "labels": _CORE,
    "calibration": _DATA,
    "metrics": set(),
    "model_package": {"errors"},
    "located_peaks": _CORE,
    "peak_matching": _CORE | {"labels", "centers"},
    "tables": _CORE | {"ids", "labels", "located_peaks"},
    "table_files": {"tables"},
    "product_files": {"tables", "footprints"},
    "features": _DATA | {"features"},
    "networks": _DATA | {"networks"},
    "centers": _DATA | {"centers", "networks", "features"},
    "plugin_registry": {"model_package"},
    "trained_plugin": _DATA,
    "classifiers": _CLASSIFIERS,
    "localizers": _LOCALIZERS,
    "simulation": {"simulation", "images", "errors", "ids", "labels"},
    "images": {"images", "errors", "afw"},
    "afw": {"afw", "images", "errors", "tables", "ids", "source_catalogs"},
    "source_catalogs": _CORE | {"source_catalogs", "tables", "labels", "peak_matching"},
    "training": _LOCALIZERS | {"training", "metrics", "simulation"},
    "evaluation": _LOCALIZERS | {"training", "evaluation", "metrics", "simulation", "tables"},
}


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _text_files() -> Iterator[Path]:
    """Text files of the source tree that belong to it."""
    suffixes = {".py", ".rst", ".md", ".toml", ".yaml", ".txt", ".table", ".cfg", ".in"}
    names = {"Makefile", "SConstruct", "SConscript", "run", "find-python", "blendid"}
    for top in (
        ".",
        ".ci",
        "bin",
        "config",
        "pipelines",
        "ups",
        "benchmarks",
        "tools",
        "doc",
        "tests",
        "python",
    ):
        paths = (ROOT / top).iterdir() if top in (".", ".ci", "bin") else (ROOT / top).rglob("*")
        for path in sorted(paths):
            inside = path.relative_to(ROOT).parts
            if any(p in ("_build", "generated", ".tests") or p.endswith("-info") for p in inside):
                continue
            if path.is_file() and (path.suffix in suffixes or path.name in names):
                yield path


def _module_imports(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Absolute names of what a module of the package imports.

    With ``only_at_import``, not what is imported within functions or for
    annotations alone.
    """
    parts = ("lsst", "meas", "blendid", *path.relative_to(PACKAGE).parts[:-1])

    def visit(node: ast.AST) -> Iterator[str]:
        if only_at_import:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(_parse(path))


def _id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_package_has_modules() -> None:
    """The other tests of this file look at something."""
    assert {"__init__.py", "flags.py", "blend_identification.py"} <= {p.name for p in MODULES}


def test_import_loads_no_optional_package() -> None:
    program = (
        "import sys, json, lsst.meas.blendid as package\n"
        "for name in package.__all__:\n"
        "    getattr(package, name)\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "lsst.meas.blendid" in loaded
    assert loaded.isdisjoint(
        {"tensorflow", "galsim", "matplotlib", "sklearn", "lsst.afw", "MuyGPyS", "parsl", "scarlet2", "jax"}
    )


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_module_states_public_names(path: Path) -> None:
    tree = _parse(path)
    assert ast.get_docstring(tree), "no docstring"
    if path.name == "__main__.py":
        return
    names = None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
            names = [e.value for e in node.value.elts if isinstance(e, ast.Constant)]  # type: ignore[attr-defined]
    if path.name == "__init__.py" and names is None:
        # One that only gathers the names of its modules.
        assert all(isinstance(node, ast.ImportFrom | ast.Expr) for node in tree.body), "no __all__"
        return
    assert names is not None, "no __all__"
    assert len(names) == len(set(names)), "a name twice in __all__"


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_module_stays_in_its_layer(path: Path) -> None:
    """Imports go one way, from commands and tasks down to the footprints."""
    inside = path.relative_to(PACKAGE)
    part = inside.parts[0].removesuffix(".py")
    if part not in ALLOWED_IMPORTS:
        assert part.startswith("_") or part in {
            "annotate_blends",
            "band_models",
            "blend_identification",
            "blend_identification_config",
            "cli",
            "deblending",
            "identify",
            "simulate_coadd",
        }, f"{part} is in no layer; add it to ALLOWED_IMPORTS"
        return
    prefix = "lsst.meas.blendid."
    inner = (n.removeprefix(prefix).split(".")[0] for n in _module_imports(path) if n.startswith(prefix))
    used = {n for n in inner if (PACKAGE / n).is_dir() or (PACKAGE / f"{n}.py").is_file()}
    used = {n for n in used if not n.startswith("_")}
    assert used <= ALLOWED_IMPORTS[part] | {part}


def test_simulator_is_built_upwards() -> None:
    """Catalogues lie below coadds, those below tracts and stamps, and no modules import each other."""
    prefix = "lsst.meas.blendid."
    below = {"catalogs": set(), "coadds": {"catalogs"}, "stamps": {"catalogs", "coadds"}}
    below["tracts"] = {"catalogs", "coadds"}
    names = {
        ".".join(("simulation", *path.relative_to(PACKAGE / "simulation").with_suffix("").parts)): path
        for path in (PACKAGE / "simulation").rglob("*.py")
    }
    imports = {
        name: {
            inner
            for n in _module_imports(path)
            if (inner := n.removeprefix(prefix).rpartition(".")[0]) in names
        }
        for name, path in names.items()
    }
    assert any("coadds" in n for used in imports.values() for n in used)
    for name, used in imports.items():
        part = name.split(".")[1]
        parts = {n.split(".")[1] for n in used if n.count(".") == 2}
        assert part not in below or parts <= below[part] | {part}, name
        # Whatever imports a module that needs it is part of a circle.
        reached, new = set(used), set(used)
        while new:
            new = {n for m in new for n in imports[m]} - reached
            reached |= new
        assert name not in reached, f"{name} imports itself by way of others"


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_module_imports_heavy_packages_late(path: Path) -> None:
    """Optional and slow packages are imported where they are used; lsst.afw only inside afw/."""
    tops = {
        ".".join(n.split(".")[:2]) if n.startswith("lsst.") else n.split(".")[0]
        for n in _module_imports(path)
    }
    if path.relative_to(PACKAGE).parts[0] != "afw":
        assert "lsst.afw" not in tops
    early = {n.split(".")[0] for n in _module_imports(path, only_at_import=True)}
    assert early.isdisjoint(
        {
            *("tensorflow", "keras", "galsim", "matplotlib", "sklearn", "MuyGPyS", "parsl", "sep"),
            *("scarlet2", "jax", "equinox", "optax", "numpyro"),
        }
    )


@pytest.mark.parametrize("path", MODULES, ids=_id)
def test_module_runs_no_code_from_data(path: Path) -> None:
    """There is no pickle, eval or exec, and NumPy is not allowed to unpickle."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    assert forbidden.isdisjoint(n.split(".")[0] for n in _module_imports(path))
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__"}, f"line {node.lineno}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert isinstance(keyword.value, ast.Constant) and keyword.value.value is False


def test_text_files_are_tidy() -> None:
    """No long lines, no paths of one machine, no package index, no half-merged text."""
    conflict = re.compile(r"\s*(<{7}|>{7}|\|{7}) \S")
    machine_path = re.compile(r"(?<![\w./$}])/(work|tmp|home|root|Users|opt)/\w")
    wrong = []
    for path in _text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            where = f"{path.relative_to(ROOT)}:{number}"
            code = re.sub(r"  # (type: ignore|noqa).*", "", line)
            if path.suffix in {".py", ".rst", ".md"} and len(code) > MAX_LINE_LENGTH:
                wrong.append(f"{where}: longer than {MAX_LINE_LENGTH}")
            if machine_path.search(line) and path != Path(__file__).resolve():
                wrong.append(f"{where}: path of one machine")
            if conflict.match(line):
                wrong.append(f"{where}: mark of a merge conflict")
            if re.search(r"--(extra-)?index-url|--find-links", line) and path.name == "requirements.txt":
                wrong.append(f"{where}: names a package index")
    assert not wrong, "\n".join(wrong)


def test_python_files_state_the_licence() -> None:
    header = [
        line for line in Path(__file__).read_text(encoding="utf-8").splitlines() if line.startswith("#")
    ][:7]
    wrong = []
    for path in _text_files():
        namespace = path in (ROOT / "python/lsst/__init__.py", ROOT / "python/lsst/meas/__init__.py")
        if (
            path.suffix == ".py"
            and not namespace
            and path.parent != ROOT / "config"
            and path.name != "version.py"
        ):
            if path.read_text(encoding="utf-8").splitlines()[: len(header)] != header:
                wrong.append(_id(path))
    assert not wrong, wrong


def test_requirements_pin_every_dependency() -> None:
    """Each direct dependency, those of the extras included, has one exact version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        direct += extra
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==")[0] for line in lines if re.match(r"[a-z0-9]", line)]
    assert all("==" in line for line in lines if re.match(r"[a-z0-9]", line))
    assert len(pinned) == len(set(pinned))
    assert {re.split(r"[<>=!~ \[;]", name)[0] for name in direct} <= set(pinned)


def test_every_dependency_is_justified() -> None:
    """The table in the user guide names each direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "doc" / "lsst.meas.blendid" / "dependencies.rst").read_text(encoding="utf-8")
    names = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        names += extra
    missing = [n for name in names if f"``{(n := re.split(r'[<>=]', name)[0])}``" not in page]
    assert not missing


def _run_scons(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run scons in a product's folder."""
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_", "EUPS_", "SCONS"))
    }
    # sconsUtils runs pytest and ruff by name.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    environment["PYTHONPATH"] = str(folder / "python")
    environment["XDG_CACHE_HOME"] = str(folder)
    return subprocess.run(
        [str(Path(sys.executable).with_name("scons")), *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("fails", [False, True], ids=["passing", "failing"])
def test_scons_reports_the_tests(tmp_path: Path, fails: bool) -> None:
    """Plain scons builds the product and its exit status is that of the tests."""
    (tmp_path / "tests").mkdir()
    for name in ("SConstruct", "pyproject.toml", "tests/SConscript"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "ups", tmp_path / "ups")
    package = tmp_path / "python" / "lsst" / "meas" / "blendid"
    package.mkdir(parents=True)
    for name in ("__init__.py", "meas/__init__.py"):
        shutil.copy(ROOT / "python" / "lsst" / name, tmp_path / "python" / "lsst" / name)
    test = '"""One test."""\n\n\ndef test_one() -> None:\n    assert 1 + 1 == %d\n'
    (tmp_path / "tests" / "test_one.py").write_text(test % (3 if fails else 2))
    done = _run_scons(tmp_path)
    assert ("1 failed" if fails else "1 passed") in done.stdout, done.stdout + done.stderr
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert (package / "version.py").is_file()
    # The script that is under version control is the one that scons writes.
    assert os.access(tmp_path / "bin" / "blendid", os.X_OK)
    assert (tmp_path / "bin" / "blendid").read_bytes() == (ROOT / "bin" / "blendid").read_bytes()


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not in a virtual environment")
def test_scons_refuses_what_would_run_no_test(tmp_path: Path) -> None:
    for name in ("SConstruct", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = _run_scons(tmp_path, "-j2")
    assert done.returncode == 2
    assert "leave out -j" in done.stderr
