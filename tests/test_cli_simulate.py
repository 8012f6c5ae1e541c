# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid simulate``, into files and into Butler repositories."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.daf.butler import Butler
from lsst.images.cells import CellCoadd
from lsst.meas.blendid.cli import main
from lsst.meas.blendid.images import image_scale
from lsst.meas.blendid.images.psf import summarize_psf
from lsst.meas.blendid.simulation import simulate_scene
from lsst.meas.blendid.training import SceneRecipe

SCRIPT = Path(__file__).resolve().parents[1] / "bin" / "blendid"


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["simulate", *(str(a) for a in args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def contents(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def pixels(path: Path) -> np.ndarray:
    return CellCoadd.read(str(path)).image.array


def test_bands_of_one_sky(tmp_path: Path) -> None:
    status, out, err = run("--out", tmp_path, "--size", 64, "--bands", "gri", "--name", "sky", "-j", 2)
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        str(tmp_path / f"sky_{band}.fits") for band in "gri"
    ]
    truths = [Table.read(tmp_path / f"sky_{band}.truth.parquet") for band in "gri"]
    for band, truth in zip("gri", truths, strict=True):
        assert CellCoadd.read(str(tmp_path / f"sky_{band}.fits")).band == band
        np.testing.assert_array_equal(truth["id"], truths[0]["id"])
    expected = simulate_scene(size=(64, 64), band="r")
    np.testing.assert_array_equal(pixels(tmp_path / "sky_r.fits"), expected.coadd.image.array)


def test_config_comes_from_file_option_and_mode(tmp_path: Path) -> None:
    override = tmp_path / "override.py"
    override.write_text("config.population.sizeScale = 3.0\nconfig.population.starDensity = 50.0\n")
    args = ("--out", tmp_path, "--size", 64)
    assert run(*args, "--name", "plain")[0] == 0
    status, _, err = run(*args, "--name", "large", "--config", override, "-c", "population.sizeScale=2")
    assert (status, err) == (0, "")
    plain, large = (Table.read(tmp_path / f"{name}.truth.parquet") for name in ("plain", "large"))
    assert large["is_star"].sum() > 0 and not plain["is_star"].any()
    galaxies = large[~large["is_star"]]
    np.testing.assert_array_equal(galaxies["id"], plain["id"])
    np.testing.assert_allclose(galaxies["half_light_radius"], 2.0 * plain["half_light_radius"], rtol=1e-5)


def test_seeing(tmp_path: Path) -> None:
    """In arcsec, of every band, in files and repositories alike."""
    args = ("--size", 64, "--bands", "ri", "--seed", 4, "--psf-fwhm", 1.1)
    status, _, err = run("--out", tmp_path / "new" / "out", "--name", "sky", *args)
    assert (status, err) == (0, "")
    assert run("--out", tmp_path, "--name", "usual", "--size", 64, "--seed", 4)[0] == 0
    assert run("--butler", tmp_path / "deep" / "repo", *args)[0] == 0
    widths = {}
    for band in "ri":
        path = tmp_path / "new" / "out" / f"sky_{band}.fits"
        assert Table.read(path.with_name(f"sky_{band}.truth.parquet")).meta["psf_fwhm"] == 1.1
        psf = CellCoadd.read(str(path)).psf
        widths[band] = summarize_psf(psf.compute_kernel_image(x=32, y=32).array).sigma
        with Butler.from_config(str(tmp_path / "deep" / "repo"), collections="simulated") as butler:
            coadd = butler.get("deep_coadd", skymap="blendid_1x1_64_4", tract=0, patch=0, band=band)
            np.testing.assert_array_equal(coadd.image.array, pixels(path))
            settings = butler.get("deep_coadd_sim_tract", skymap="blendid_1x1_64_4", tract=0)
    assert settings["psf_fwhm"] == 1.1
    usual = CellCoadd.read(str(tmp_path / "usual.fits")).psf.compute_kernel_image(x=32, y=32).array
    # A Kolmogorov of 0.7 arcsec and one of 1.1.
    assert widths["i"] / summarize_psf(usual).sigma == pytest.approx(1.1 / 0.7, rel=0.05)
    assert widths["r"] == pytest.approx(widths["i"], rel=1e-3)
    status, _, err = run("--out", tmp_path, "--psf-fwhm", 0.02)
    assert status == 2
    assert "0.02 is not in the range 0.1<=x<=10.0" in err
    status, _, err = run("--out", tmp_path, "--name", "sharp", "--size", 64, "--psf-fwhm", 0.3)
    assert status == 1 and "at least 2 pixels are needed" in err


def test_a_table_of_galaxies(tmp_path: Path) -> None:
    table = tmp_path / "mine.ecsv"
    Table({"x": [20.0, 40.0], "y": [30.0, 31.0], "mag_i": [22.0, 23.0]}).write(table)
    args = ("--size", 64, "--catalog", table, "--sizes", "cosmodc2")
    status, out, err = run("--out", tmp_path / "out", *args)
    assert (status, err) == (0, "")
    truth = Table.read(tmp_path / "out" / "mine_cosmodc2_i_1.truth.parquet")
    np.testing.assert_allclose(truth["x"], [20.0, 40.0])


def test_columns_of_other_names_and_units(tmp_path: Path) -> None:
    table = tmp_path / "mine.ecsv"
    Table({"X": [20.0, 40.0], "row": [30.0, 31.0], "imag": [22.0, 23.0], "R50": [0.01, 0.02]}).write(table)
    names = ("y=row", "mag_i = imag", "half_light_radius=R50 [arcmin]")
    args = ("--size", 64, "--catalog", table, *(word for name in names for word in ("--column", name)))
    status, _, err = run("--out", tmp_path / "out", "--name", "mine", *args)
    assert (status, err) == (0, "")
    status, _, err = run("--butler", tmp_path / "repo", *args)
    assert (status, err) == (0, "")
    with Butler.from_config(str(tmp_path / "repo"), collections="simulated") as butler:
        (ref,) = butler.query_datasets("deep_coadd_truth")
        truths = [butler.get(ref), Table.read(tmp_path / "out" / "mine.truth.parquet")]
    for truth in truths:
        np.testing.assert_allclose(truth["y"], [30.0, 31.0])
        np.testing.assert_allclose(truth["mag_i"], [22.0, 23.0], rtol=1e-6)
        np.testing.assert_allclose(truth["half_light_radius"], [0.6, 1.2], rtol=1e-6)
    status, _, err = run("--out", tmp_path, *args[:4], "--column", "mag_i=m_i", "--column", "y=row")
    assert status == 1 and err.count("\n") == 1
    assert "mine.ecsv has no column m_i for mag_i" in err


@pytest.mark.parametrize("catalog", ["cosmodc2", "scene_00.fits"])
def test_columns_are_those_of_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene_00.fits").touch()
    for output in (("--out", "out"), ("--butler", "repo")):
        status, out, err = run(*output, "--size", 64, "--catalog", catalog, "--column", "mag_i=imag")
        assert (status, out) == (2, "")
        assert err == f"Error: --column works with tables only, and --catalog {catalog} is none\n"
    assert contents(tmp_path) == ["scene_00.fits"]


@pytest.mark.parametrize("output", ["--out", "--butler"])
def test_a_terminal_is_told_of_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    table = tmp_path / "mine.ecsv"
    Table({"x": [20.0], "y": [30.0], "mag_i": [22.0]}).write(table)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for name, word, source in (("a", "Drawing", ()), ("b", "Reading", ("--catalog", str(table)))):
        args = ["simulate", output, str(tmp_path / name), "--size", "64", *source]
        main(args, standalone_mode=False)
        out, err = capsys.readouterr()
        assert err.split("Coadds")[0].rsplit("\r", 1)[0].endswith(f"\r\033[K{word} the catalogue …\n")
        assert "catalogue" not in out


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"x": [20.0], "y": [30.0]}, "mine.ecsv"),
        ({"x": [20.0, np.nan], "y": [30.0, 1.0], "mag_i": [22.0, 22.0]}, "column '?x'?.*rows? 1"),
        (
            {"x": [20.0], "y": [30.0], "mag_i": [22.0], "half_light_radius": [-1.0]},
            "half_light_radius.*row",
        ),
        ({"x": [2000.0], "y": [30.0], "mag_i": [22.0]}, "mine.* in the field"),
    ],
)
def test_bad_tables(tmp_path: Path, columns: dict[str, list[float]], match: str) -> None:
    table = tmp_path / "mine.ecsv"
    Table(columns).write(table)
    before = contents(tmp_path)
    for output in (("--out", tmp_path / "out"), ("--butler", tmp_path / "repo")):
        status, out, err = run(*output, "--size", 64, "--catalog", table)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1 and "unexpected" not in err
        assert re.search(match, err), err
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("args", "status", "match"),
    [
        ((), 2, "--out DIR for files, --butler REPO for a repository, or --recipe FILE"),
        (("--out", "a", "--butler", "b"), 2, "or --recipe FILE for a file that says what to simulate; one"),
        (("--out", "a", "--recipe", "b"), 2, "; one of them"),
        (("--out", "a", "--patches", "2"), 2, "--patches works with --butler only"),
        (("--out", "a", "--prepare"), 2, "--prepare works with --butler only"),
        (("--out", "a", "--tract", "0"), 2, "--tract works with --butler only"),
        (("--out", "a", "--collection", "mine"), 2, "--collection works with --butler only"),
        (("--butler", "a", "--collection", ""), 2, "empty argument after "),
        (("--butler", "a", "--collection", "a,b"), 2, "'a,b' is no name"),
        (("--butler", "a", "--skymap", "o'brien"), 2, "is no name"),
        (("--out", "a", "--center", "nan", "0"), 1, "not ra nan, dec 0"),
        (("--out", "a", "--split", "test"), 2, "--split works with --scenes or --catalog only"),
        (("--out", "a", "--column", "mag_i=imag"), 2, "--column works with --catalog only"),
        (("--butler", "a", "--scene", "1", "--column", "y=Y"), 2, "--column works with --catalog only"),
        (("--out", "a", "--column", "mag_i"), 2, "'mag_i' is not of the form NAME=COLUMN"),
        (("--out", "a", "--column", "=imag"), 2, "'=imag' is not of the form NAME=COLUMN"),
        (("--out", "a", "--column", "mag_i="), 2, "'mag_i=' is not of the form NAME=COLUMN"),
        (
            ("--out", "a", "--column", "magi=imag"),
            2,
            "galaxies have no magi (did you mean 'mag_i'?); known are: id, x, y",
        ),
        (("--out", "a", "--column", "x=X", "--column", "x=Y"), 2, "x is given twice"),
        (("--butler", "a", "--overwrite"), 2, "--overwrite works with --out only"),
        (("--butler", "a", "--prepare", "--resume"), 2, "exclude each other"),
        (("--out", "a", "--resume"), 2, "--resume works with --butler, or with --out for many images, only"),
        (("--out", "a", "--scene", "10"), 2, "there is no scene 10; there are scenes 0 to 9"),
        (("--out", "a", "--scenes", "1", "--catalog", "b.fits"), 2, "--scenes and --catalog exclude"),
        (("--butler", "a", "--patches", "2x2x2"), 2, "neither a number of patches"),
        (("--butler", "a", "--patches", "0"), 2, "neither a number of patches"),
        (("--butler", "a", "--size", "64", "--overlap", "33"), 1, "overlap of patches must be even"),
        (("--butler", "a", "--bands", "iq"), 1, "unknown band 'q'"),
        (("--out", "a", "--bands", ""), 2, "empty argument after --bands"),
        (("--out", "a", "--mode", "slow"), 2, "slow"),
        (("--out", "a", "-c", "noSuchField=1"), 2, "noSuchField"),
        (("--out", "a", "-c", "variation.fwhmScatter=2"), 2, "fwhmScatter"),
        (("--out", "a", "--mode", "full", "-c", "variation.fwhmScatter=0.1"), 1, "mode full"),
        (("--out", "a", "--exposure-folder", "kept"), 2, "--mode full only"),
        (("--out", "a", "--config", "no.py"), 1, "no.py: no such file"),
        (("--out", "a", "--catalog", "no.fits"), 1, "no.fits: no such file"),
        (("--butler", "/dev/null/a", "--size", "64"), 1, "folder /dev/null cannot be written (is a file)"),
        (("--out", "a", "--split", "test", "--scene", "1", "--size", "64"), 1, ""),
    ],
)
def test_misuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], status: int, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    got, out, err = run(*args)
    assert (got, out) == (status, "")
    assert match in err and "unexpected" not in err and "Traceback" not in err
    assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (
            ("--butler", "b", "--skies", "2"),
            "--skies makes many images, which works with --out and --recipe only",
        ),
        (("--butler", "b", "--scenes", "1,2"), "more than one of --scenes makes many images"),
        (("--recipe", "r.json", "--name", "a"), "--name works with --out only"),
        (("--recipe", "r.json", "--resume"), "--resume works with --butler"),
        (("--recipe", "r.json", "--catalog", "a.fits"), "--catalog is for a single image"),
        (
            ("--out", "a", "--vary", "--center", "1", "2"),
            "--center is for a single image and does not go with --vary",
        ),
        (("--out", "a", "--skies", "2", "--noise-seed", "3"), "--noise-seed is for a single image"),
        (("--out", "a", "--skies", "2", "--config", "c.py"), "--config is for a single image"),
        (("--out", "a", "--draws", "2", "--mode", "full"), "does not go with --draws; give -c mode=full"),
        (("--out", "a", "--bands", "any"), "--bands any draws a band for each of many skies; add --vary"),
        (("--out", "a", "--skies", "2", "--bands", "any"), "band 'any' is drawn for each sky: set vary"),
        (("--out", "a", "--vary", "--pixel-scale", "0.3"), "--pixel-scale does not go with --vary"),
        (("--out", "a", "--skies", "2", "--bands", "gri"), "one band, not g, r, i; give one as --band"),
        (("--out", "a", "--vary", "--psf-fwhm", "0.8"), "--psf-fwhm does not go with --vary, which draws it"),
        (("--out", "a", "--vary", "--visits", "8"), "--visits does not go with --vary"),
        (("--out", "a", "--vary", "--sizes", "large"), "--sizes does not go with --vary"),
        (("--out", "a", "--vary", "-c", "engine=galsim"), "--config-option does not go with --vary"),
        (("--out", "a", "--skies", "2", "--sizes", "larg"), "unknown 'larg' (did you mean 'large'?)"),
        (("--out", "a", "--skies", "2", "-c", "population.sizeScal=2"), "did you mean 'sizeScale'"),
        (("--out", "a", "--skies", "2", "--split", "train"), "--split works with --scenes or --catalog only"),
        (("--recipe", "r.json", "--scenes", "0,1", "--split", "train"), "scene 0 belongs to the test sky"),
        (("--out", "a", "--skies", "0"), "0 is not in the range x>=1"),
        (("--out", "a", "--skies", "2", "--resume", "--overwrite"), "exclude each other"),
        (("--out", "a", "--skies", "2", "--name", ".a"), "cannot be the start of a file name"),
        (("--recipe", ".", "--skies", "2"), "is a folder; give a file, such as skies.json"),
    ],
)
def test_what_recipes_have_no_place_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert match in " ".join(err.split())
    assert contents(tmp_path) == []


def test_pixels_of_another_size(tmp_path: Path) -> None:
    args = ("--size", 64, "--seed", 4, "--pixel-scale", 0.3)
    assert run("--out", tmp_path, "--name", "sky", *args)[::2] == (0, "")
    coadd = CellCoadd.read(str(tmp_path / "sky.fits"))
    # As wide on the sky as usual, on fewer pixels.
    sigma = summarize_psf(coadd.psf.compute_kernel_image(x=32, y=32).array).sigma
    assert sigma == pytest.approx(1.598 * 2.0 / 3.0, rel=0.05)
    assert image_scale(coadd) == pytest.approx(0.3, rel=1e-4)
    assert run("--butler", tmp_path / "repo", *args)[0] == 0
    with Butler.from_config(str(tmp_path / "repo"), collections="simulated") as butler:
        other = butler.get("deep_coadd", skymap="blendid_1x1_64_4", tract=0, patch=0, band="i")
    np.testing.assert_array_equal(other.image.array, coadd.image.array)
    assert run("--recipe", tmp_path / "sky.json", "--skies", 1, *args)[0] == 0
    (scene, *_) = SceneRecipe.read(tmp_path / "sky.json").scenes()
    assert not isinstance(scene.survey, str) and scene.survey.pixel_scale == 0.3
    status, _, err = run("--out", tmp_path, "--name", "coarse", "--size", 64, "--pixel-scale", 0.5)
    assert status == 1 and "undersampled by pixels of 0.5 arcsec" in err


def test_a_recipe_of_all_that_it_can_say(tmp_path: Path) -> None:
    path = tmp_path / "new" / "skies.json"
    options = (
        "--skies 3 --scenes 1,2 --sizes large --sizes 1.6x --draws 2 --size 300 --band r --psf-fwhm 0.9 "
    )
    options += "--pixel-scale 0.25 "
    options += "--exposures 33 --seed 7 --split train -c population.sizeScale=2 -c variation.fwhmScatter=0.05"
    args = ("--recipe", path, *options.split())
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    assert out == f"{path}: 20 images of 300 × 300 pixels to simulate\n"
    assert SceneRecipe.read(path) == SceneRecipe(
        skies=3,
        truths=(1, 2),
        sizes=("large", "1.6x"),
        draws=2,
        size=300,
        band="r",
        psf_fwhm=0.9,
        pixel_scale=0.25,
        visits=33,
        seed=7,
        split="train",
        options=("population.sizeScale=2", "variation.fwhmScatter=0.05"),
    )
    status, _, err = run("--recipe", path, "--vary")
    assert status == 1 and "skies.json exists; choose another --recipe or give --overwrite" in err
    assert run("--recipe", path, "--vary", "--overwrite")[0] == 0
    assert SceneRecipe.read(path) == SceneRecipe(vary=True)
    # Of truth scenes alone, no other skies.
    assert run("--recipe", path, "--scene", 1, "--overwrite")[0] == 0
    assert SceneRecipe.read(path) == SceneRecipe(skies=0, truths=(1,))
    assert contents(tmp_path) == ["new", "new/skies.json"]


@pytest.mark.parametrize("processes", [1, 2])
def test_many_images_are_those_of_the_recipe(tmp_path: Path, processes: int) -> None:
    args = ("--out", tmp_path, "--skies", 2, "--vary", "--size", 64, "--seed", 3, "--processes", processes)
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    images = [tmp_path / f"varied_i_3_000{i}.fits" for i in (1, 2)]
    assert [line.split(":")[0] for line in out.splitlines()] == [str(image) for image in images]
    recipe = SceneRecipe.read(tmp_path / "varied_i_3.recipe.json")
    assert recipe == SceneRecipe(skies=2, vary=True, size=64, seed=3)
    for image, scene in zip(images, recipe.scenes(), strict=True):
        simulated = scene.simulate()
        np.testing.assert_array_equal(pixels(image), simulated.coadd.image.array)
        truth = Table.read(image.with_suffix(".truth.parquet"))
        np.testing.assert_array_equal(truth["x"], simulated.truth["x"])
        assert truth.meta["size_model"] == simulated.truth.meta["size_model"]


def test_truth_scenes_and_sizes_make_many_images(tmp_path: Path, shared_data: Path) -> None:
    environment = {**os.environ, "BLENDID_DATA": str(shared_data)}
    options = "--scenes 1,3 --split train --sizes large --size 64"
    args = ("simulate", "--out", tmp_path, *options.split())
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    done = subprocess.run([*command, "--name", "t"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    metas = [Table.read(tmp_path / f"t_000{i}.truth.parquet").meta for i in (1, 2)]
    assert [meta["source"] for meta in metas] == ["scene_01", "scene_03"]
    assert all(meta["split"] == "train" and meta["size_model"] == "large" for meta in metas)
    assert len(contents(tmp_path)) == 5


def test_many_images_go_on_where_they_stopped(tmp_path: Path) -> None:
    args = ("--out", tmp_path, "--skies", 2, "--sizes", "large", "--size", 64, "--name", "a")
    assert run(*args)[0] == 0
    names = contents(tmp_path)
    assert names == [
        "a.recipe.json",
        *(f"a_000{i}{suffix}" for i in (1, 2) for suffix in (".fits", ".truth.parquet")),
    ]
    first, second = (tmp_path / f"a_000{i}.fits" for i in (1, 2))
    before = (first.stat().st_mtime_ns, first.read_bytes(), pixels(second))
    status, out, err = run(*args)
    assert (status, out) == (1, "") and "exists; choose another --name or give --overwrite" in err
    # A killed process may leave one file of two.
    second.with_suffix(".truth.parquet").unlink()
    status, out, err = run(*args, "--resume")
    assert (status, err) == (0, "")
    assert out.startswith(f"{tmp_path}: 1 image of 2 were there\n{second}: ")
    assert contents(tmp_path) == names
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before[:2]
    np.testing.assert_array_equal(pixels(second), before[2])
    status, out, err = run(*args, "--seed", 2, "--resume")
    assert (status, out) == (1, "") and "another recipe; choose another --name, or give --overwrite" in err
    # No image of the old recipe is left among those of the new one.
    assert run(*args, "--skies", 1, "--overwrite")[0] == 0
    assert contents(tmp_path) == names[:3]
    (tmp_path / "a.recipe.json").unlink()
    status, _, err = run(*args, "--resume")
    assert status == 1 and "of another recipe" in err


def test_many_images_in_full(tmp_path: Path) -> None:
    args = ("--out", tmp_path, "--skies", 1, "--sizes", "large", "--size", 48, "--visits", 2)
    status, _, err = run(*args, "-c", "mode=full", "-j", 2)
    assert (status, err) == (0, "")
    scene = SceneRecipe(skies=1, sizes=("large",), size=48, visits=2, options=("mode=full",)).scenes()[0]
    expected = scene.simulate()
    np.testing.assert_array_equal(pixels(tmp_path / "skies_i_1_0001.fits"), expected.coadd.image.array)


def test_into_a_new_and_an_old_repository(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    args = ("--butler", repo, "--size", 64, "--overlap", 16, "--patches", "2x1")
    status, out, err = run(*args, "--bands", "gi")
    assert (status, err) == (0, "")
    assert "4 coadds in collection simulated, " in out
    status, out, err = run(*args, "--bands", "i")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1 and "already" in err and "--collection" in err and "--resume" in err
    status, out, _ = run(*args, "--bands", "iz", "--resume")
    assert status == 0 and "2 coadds in collection simulated, 2 were there" in out
    # Another layout has a skymap of its own, another seed a collection.
    assert run("--butler", repo, "--size", 64)[0] == 0
    status, _, err = run(*args, "--seed", 2, "--bands", "r")
    assert status == 1 and "seed is 1 there, not 2" in err
    assert run(*args, "--seed", 2, "--bands", "r", "--collection", "second")[0] == 0
    with Butler.from_config(str(repo), collections=["simulated"]) as butler:
        found = {
            (r.dataId["skymap"], r.dataId["patch"], r.dataId["band"])
            for r in butler.query_datasets("deep_coadd")
        }
    first = "blendid_2x1_64_16"
    assert found == {(first, p, b) for p in (0, 1) for b in "giz"} | {("blendid_1x1_64_4", 0, "i")}
    status, _, err = run("--butler", repo, "--size", 96, "--skymap", first, "--collection", "third")
    assert status == 1 and "another skymap" in err


def test_prepared_repository_has_catalogues_only(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    status, out, err = run("--butler", repo, "--size", 64, "--patches", 2, "--bands", "gr", "--prepare")
    assert (status, err) == (0, "")
    assert "pipetask run -j 1 " in out and "band IN ('g', 'r')" in out
    with Butler.from_config(str(repo), collections="simulated") as butler:
        assert len(butler.query_datasets("deep_coadd_sim_catalog")) == 2
        assert butler.query_datasets("deep_coadd", explain=False) == []
    kept = tmp_path / "kept here"
    args = ("--mode", "full", "--exposures", 2, "--exposure-folder", kept, "-j", 3, "--collection", "full")
    status, out, err = run("--butler", repo, "--size", 64, "--patches", 2, "--prepare", *args)
    assert (status, err) == (0, "")
    command = shlex.split(out.split("with\n")[1].replace("\\\n", " "))
    assert command[command.index("-j") + 1] == "3"
    assert command[command.index("-c") + 1] == f"simulateCoadd:exposureFolder={kept}"


def test_full_mode_goes_on_and_refuses_other_exposures(tmp_path: Path) -> None:
    pytest.importorskip("galsim")
    kept = tmp_path / "kept"
    args = ("--size", 48, "--mode", "full", "--exposures", 2, "--exposure-folder", kept)
    assert run("--out", tmp_path, "--name", "first", *args)[0] == 0
    files = contents(kept)
    assert len([f for f in files if Path(f).suffix]) >= 2
    status, _, err = run("--out", tmp_path, "--name", "second", *args)
    assert (status, err) == (0, "")
    np.testing.assert_array_equal(pixels(tmp_path / "first.fits"), pixels(tmp_path / "second.fits"))
    status, out, err = run("--out", tmp_path, "--name", "third", *args, "-c", "exposures.skyScatter=0.1")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1 and "sky" in err.lower()
    for change, match in (
        (("--seed", 2), "exposure-i-0000.fits was made with seed = "),
        (("-c", "population.sizeScale=2"), "exposure-i-0000.fits was made with other galaxies (catalogue,"),
    ):
        status, _, err = run("--out", tmp_path, "--name", "third", *args, *change)
        assert status == 1 and err.count("\n") == 1 and match in err
    assert contents(kept) == files and not (tmp_path / "third.fits").exists()


@pytest.mark.parametrize(
    ("names", "args"),
    [
        ([f"a_{band}" for band in "ugrizy"], ("--bands", "ugrizy")),
        ([f"a_000{i}" for i in range(1, 7)], ("--skies", 6, "--sizes", "large")),
    ],
    ids=["bands", "skies"],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_interrupt_leaves_no_half_files(
    tmp_path: Path, processes: int, names: list[str], args: tuple[object, ...]
) -> None:
    out = tmp_path / "out"
    args = ("simulate", "--out", out, "--size", 512, *args, "--name", "a", "-j", processes)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *(str(a) for a in args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert first.startswith(str(out / f"{names[0]}.fits"))
    assert process.returncode == 130, err
    assert "Interrupted" in err and "Traceback" not in err
    time.sleep(0.2)
    found = set(contents(out)) - {"a.recipe.json"}
    assert {f"{names[0]}.fits", f"{names[0]}.truth.parquet"} <= found and f"{names[-1]}.fits" not in found
    for name in found:
        assert name.endswith((".fits", ".truth.parquet"))
        assert name.replace(".truth.parquet", ".fits") in found
