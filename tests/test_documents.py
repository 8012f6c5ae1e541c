# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Run the blocks of code in the documents, page by page, each in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from document_blocks import RUNNABLE, Block, read_blocks
from lsst.meas.blendid.cli import main
from toy_catalogs import ToyFootprint, ToyPeak, write_toy

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "doc").rglob("*.rst")) + sorted(ROOT.glob("*.md"))
WITH_CODE = [page for page in PAGES if any(block.runs for block in read_blocks(page))]

SEEING = ("--psf-fwhm", "0.7", "--pixel-scale", "0.2")

# Runs the steps of a page one after the other; those in Python share their names, as they do for a reader.
DRIVER = """
import json, os, subprocess, sys
names = {"__name__": "__page__"}
for where, language, code in json.load(open(sys.argv[1])):
    print(f"--- {where}", flush=True)
    if language == "python":
        exec(compile(code, where, "exec"), names)
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
sys.stdout.flush()
# Not through the destructors: threads of Arrow that are still there when an interpreter ends may abort it
# (apache/arrow, issue 34314), now and then, long after the page is done.
os._exit(0)
"""


def _blendid(cwd: Path, *arguments: str) -> None:
    """Run a command in this process, which has loaded already what each one of its own would load again."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, f"{' '.join(arguments)}\n{done.output}"


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Callable[[Path], str]]]:
    """What blocks of code may ask for: each makes files in a folder and gives Python code to begin with."""
    stock = tmp_path_factory.mktemp("stock")

    def scene() -> Path:
        """Give a CellCoadd with a few hundred galaxies, and its truth table."""
        if not (stock / "scene.fits").exists():
            _blendid(stock, "simulate", "--out", ".", "--name", "scene", "--size", "400", "--seed", "11")
        return stock / "scene.fits"

    def as_coadd(name: str) -> Callable[[Path], str]:
        def make(folder: Path) -> str:
            shutil.copy(scene(), folder / f"{name}.fits")
            shutil.copy(scene().with_suffix(".truth.parquet"), folder / f"{name}.truth.parquet")
            return ""

        return make

    def image(folder: Path) -> str:
        """Give the same as a plain image."""
        import astropy.io.fits
        from lsst.meas.blendid.images import read_image

        masked = read_image(str(scene())).masked_image
        astropy.io.fits.writeto(folder / "IMAGE.fits", np.asarray(masked.image.array, dtype=np.float32))
        return ""

    def repository(collection: str) -> Callable[[Path], str]:
        """Give a Butler with a coadd and its truth."""

        def make(folder: Path) -> str:
            made = stock / collection / "REPO"
            if not made.exists():
                made.parent.mkdir()
                where = ("--collection", collection, "--skymap", "sky")
                _blendid(stock, "simulate", "--butler", str(made), "--size", "300", "--bands", "i", *where)
            shutil.rmtree(folder / "REPO", ignore_errors=True)
            shutil.copytree(made, folder / "REPO")
            return ""

        return make

    def tables(folder: Path) -> str:
        made = stock / "tables"
        if not made.exists():
            made.mkdir()
            image(made)
            _blendid(made, "run", "IMAGE.fits", *SEEING, "--out", "OUT")
        shutil.copytree(made, folder, dirs_exist_ok=True)
        return ""

    def merged(folder: Path) -> str:
        """Give an image and a catalogue of lsst.afw with its footprints."""
        import astropy.io.fits
        from lsst.meas.blendid import find_footprints

        image(folder)
        found = find_footprints(astropy.io.fits.getdata(folder / "IMAGE.fits"), psf_fwhm=3.5).footprints
        toys = []
        for i, box in enumerate(found.bbox.tolist()):
            in_it = found.peaks[found.peak_start[i] : found.peak_start[i + 1]]
            peaks = [
                ToyPeak(100 * i + k, int(p["i_x"]), int(p["i_y"]), float(p["peak_value"]))
                for k, p in enumerate(in_it, 1)
            ]
            spans = [tuple(s) for s in found.spans[found.spans[:, 0] == i + 1, 1:].tolist()]
            toys.append(ToyFootprint(5000 + i, tuple(box), peaks, pixels=spans))
        (folder / "merged.fits").write_bytes(write_toy(toys))
        return ""

    def recipe(*options: str) -> Callable[[Path], str]:
        """Give a recipe of skies that are simulated in seconds."""

        def make(folder: Path) -> str:
            _blendid(folder, "simulate", "--recipe", "skies.json", *options)
            return ""

        return make

    def model(folder: Path) -> str:
        from lsst.meas.blendid import ModelPackage

        ModelPackage.read("peaks-i-1").write(str(folder / "my-model.blendid"))
        return ""

    def stamps(folder: Path) -> str:
        few = ["--train", "40", "--validation", "20", "--test", "20"]
        _blendid(folder, "stamps", "blendhunter", "--out", "parametric", *few)
        return ""

    def labels(folder: Path) -> str:
        """Give a label for each footprint, as somebody would write them who looks at the image."""
        from astropy.table import Table

        _blendid(folder, "run", str(scene()), "--out", "found", "--classifier", "peaks")
        found = Table.read(folder / "found" / "scene.blend_peak.parquet")
        first = np.unique(found["footprint_id"], return_index=True, return_counts=True)
        table = Table({"x": found["i_x"][first[1]], "y": found["i_y"][first[1]], "n_galaxies": first[2]})
        table.write(folder / "labels.ecsv")
        return ""

    def catalog(folder: Path) -> str:
        """Give a table of galaxies with the column names of somebody else."""
        from astropy.table import Table

        random = np.random.default_rng(5)
        n = 400
        table = Table(
            {
                "XPIX": random.uniform(0, 300, n),
                "YPIX": random.uniform(0, 300, n),
                "ALPHA_J2000": random.uniform(10.0, 10.02, n),
                "DELTA_J2000": random.uniform(-1.01, 1.01, n) / 100.0,
                "IMAG": random.uniform(21, 26, n),
                "imag": random.uniform(21, 26, n),
                "R50": random.uniform(0.002, 0.01, n),
            }
        )
        table.write(folder / "mine.fits")
        return ""

    def plugin(folder: Path) -> str:
        """Install the package of the page as pip would, into the working folder, which is on the path."""
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        lines = [
            f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in points.items())
            for group, points in project["entry-points"].items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        return ""

    def task_config(folder: Path) -> str:
        return (
            "from lsst.meas.blendid import BlendIdentificationConfig\nconfig = BlendIdentificationConfig()\n"
        )

    def footprint_samples(folder: Path) -> str:
        return (
            "from lsst.meas.blendid.training import clipped_footprints, label_scenes, simulated_scenes\n"
            "_scenes = label_scenes(simulated_scenes(n_scenes=1, size_models=['large'], size=256),\n"
            "                       [clipped_footprints()])\n"
            "samples = _scenes.samples\n"
        )

    def two_classifiers(folder: Path) -> str:
        return (
            "from lsst.meas.blendid import ModelPackage\n"
            "from lsst.meas.blendid.classifiers import LogisticClassifier, PeaksClassifier\n"
            "mine = LogisticClassifier.from_package(ModelPackage.read('logistic-i-1'))\n"
            "theirs = PeaksClassifier.from_package(ModelPackage.read('peaks-i-1'))\n"
        )

    yield {
        "IMAGE.fits": image,
        "coadd.fits": as_coadd("coadd"),
        "a.fits": as_coadd("a"),
        "hsc.fits": as_coadd("hsc"),
        "labels.ecsv": labels,
        "IMAGE.fits with a PSF": as_coadd("IMAGE"),
        "IMAGE tables": tables,
        "IMAGE.fits with merged.fits": merged,
        "REPO": repository("COLLECTION"),
        "simulated REPO": repository("sim"),
        "my-model.blendid": model,
        "parametric": stamps,
        "mine.fits": catalog,
        "plugin": plugin,
        "skies.json of three small skies": recipe("--skies", "3", "--vary", "--size", "400"),
        "skies.json of two skies with large galaxies": recipe(
            "--skies", "2", "--sizes", "large", "--size", "512"
        ),
        "task config": task_config,
        "samples": footprint_samples,
        "mine and theirs": two_classifiers,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that looks to a reader's commands like the clone that the pages speak of."""
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("python", "blendid", "pipetask", "bps"):
        (commands / name).symlink_to(Path(sys.executable).parent / name)
    # A link to the interpreter would take the folder above for a virtual environment of its own.
    (commands / "python").unlink()
    (commands / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (commands / "python").chmod(0o755)
    for name in ("pipelines", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def _steps(blocks: list[Block], folder: Path, given: dict[str, Callable[[Path], str]]) -> list[list[str]]:
    """Steps of a page; what its blocks need is made, and those that are files are written."""
    for block in blocks:
        if block.caption and not block.skip:
            path = folder / block.caption
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.to_run())
    steps = []
    made: set[str] = set()
    for block in blocks:
        if not block.runs:
            continue
        where = f"{block.path.relative_to(ROOT)}:{block.line}"
        for name in block.given:
            prelude = given[name](folder) if name not in made else ""
            made.add(name)
            if prelude:
                steps.append([f"{where} (given {name})", "python", prelude])
        steps.append([where, block.language, block.to_run()])
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_of_a_page_runs(page: Path, folder: Path, given: dict[str, Callable[[Path], str]]) -> None:
    blocks = read_blocks(page)
    left_out = [block for block in blocks if block.runs and block.lacks]
    steps = _steps([block for block in blocks if block not in left_out], folder, given)
    (folder / "steps.json").write_text(json.dumps(steps))
    if any("stamps" in code or "simulate" in code for _, _, code in steps):
        pytest.importorskip("galsim", reason="this page simulates")
    paths = [str(folder), *(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p)]
    env = os.environ | {
        "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "MEAS_BLENDID_DIR": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "steps.json"],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    if left_out:
        missing = sorted({name for block in left_out for name in block.lacks})
        lines = ", ".join(str(block.line) for block in left_out)
        pytest.skip(f"{', '.join(missing)} is not installed: the rest of the page ran, but not line {lines}")


def test_every_block_is_run_or_says_why_not() -> None:
    for page in PAGES:
        for block in read_blocks(page):
            where = f"{page.relative_to(ROOT)}, line {block.line}"
            assert block.language, f"{where}: a block of code without a language"
            if not block.runs and block.language in RUNNABLE and not block.caption:
                assert block.skip, where
            told = block.given or block.replacements or block.needs
            assert block.runs or block.caption or not told, where


def test_instructions_are_read(tmp_path: Path) -> None:
    page = tmp_path / "page.rst"
    page.write_text(
        "Text.\n\n.. test: given A, B\n.. test: replace 16 => 2\n\n"
        ".. code-block:: bash\n   :caption: name.sh\n\n   run 16\n\n     deeper\n\nText.\n\n"
        ".. test: skip, because it takes a day\n\n"
        ".. code-block:: python\n\n   1 / 0\n"
    )
    first, second = read_blocks(page)
    assert (first.given, first.caption, first.code) == (["A", "B"], "name.sh", "run 16\n\n  deeper\n")
    assert first.to_run() == "run 2\n\n  deeper\n"
    assert second.skip == "because it takes a day" and not second.runs
    page.write_text(".. test: replace 16 => 2\n\n.. code-block:: bash\n\n   run 3\n")
    with pytest.raises(ValueError, match="no '16' to replace"):
        read_blocks(page)[0].to_run()
    page.write_text(".. test: needs json\n.. test: needs no_such_package\n\n.. code-block:: python\n\n   1\n")
    assert read_blocks(page)[0].lacks == ["no_such_package"]
    for wrong in (".. test: skip\n\n.. code-block:: bash\n\n   x\n", ".. test: given A\n\nText.\n"):
        page.write_text(wrong)
        with pytest.raises(ValueError, match="instruction"):
            read_blocks(page)
