# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The task in a real Butler: in process, with pipetask, and with bps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetType
from lsst.meas.blendid import BlendIdentificationConfig, BlendIdentificationTask, ModelPackage
from lsst.meas.blendid.errors import NoFinitePixelsError
from lsst.meas.blendid.simulation.coadds.simulated_coadd import make_sky_projection
from lsst.meas.blendid.simulation.tracts.demo import make_demo_repository
from lsst.meas.blendid.simulation.tracts.repository import register_dimensions
from lsst.pipe.base import Pipeline
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("deep_coadd_blend", "deep_coadd_blend_peak", "deep_coadd_blend_spans")
INPUT = "demo"
ONE = "skymap = 'blendid_demo' AND patch = 0 AND band = 'i'"


def _command(
    *words: str | Path, cwd: Path, path: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment that runs the tests, as a user would."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    # bps takes its submit folder from here.
    environment["PWD"] = str(cwd)
    if path is not None:
        environment["PYTHONPATH"] = f"{path}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    result = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=500
    )
    if check:
        assert result.returncode == 0, (
            f"{words} exited {result.returncode}:\n{result.stdout}\n{result.stderr}"
        )
    return result


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two small patches that overlap."""
    path = tmp_path_factory.mktemp("pipeline") / "repo"
    make_demo_repository(path, patches=2, patch_size=256, overlap=64, seed=5)
    return path


def _pipetask(repo: Path, output: str, *extra: str, inputs: str = INPUT, **options: Any) -> Any:
    return _command(
        "pipetask", "run", "-b", repo, "-i", inputs, "-o", output,
        "-p", "resource://lsst.meas.blendid/pipelines/blendid.yaml",
        "--register-dataset-types", *extra, cwd=repo.parent, **options,
    )  # fmt: skip


def _read(repo: Path, collection: str) -> dict[tuple[str, int], Table]:
    """All output tables of a collection."""
    with Butler.from_config(str(repo), collections=collection) as butler:
        return {
            (name, int(ref.dataId["patch"])): butler.get(ref)
            for name in TABLES
            for ref in butler.query_datasets(name)
        }


@pytest.fixture(scope="module")
def tables(repo: Path) -> dict[tuple[str, int], Table]:
    _pipetask(repo, "parallel", "-j", "2")
    return _read(repo, "parallel")


def _assert_same(first: dict[tuple[str, int], Table], second: dict[tuple[str, int], Table]) -> None:
    assert first.keys() == second.keys()
    for key, table in first.items():
        assert table.colnames == second[key].colnames
        for name in table.colnames:
            one, two = np.asarray(table[name]), np.asarray(second[key][name])
            np.testing.assert_array_equal(one, two, err_msg=f"{key} {name}")


MODELS = {"ensemble": "ensemble-i-1", "features": "features-2", "peaks": "peaks-2"}
"""Models of the classifiers that run by default."""


def _write_models(repo: Path, localizer: str = "") -> None:
    """Put the models of these, and of a localiser, into a Butler."""
    names = MODELS | ({localizer: f"{localizer}-localizer-i-1"} if localizer else {})
    packages = [ModelPackage.read(name).to_bytes() for name in names.values()]
    with Butler.from_config(str(repo), writeable=True) as butler:
        butler.registry.registerDatasetType(
            DatasetType("blend_model_packages", ["band"], "ArrowTable", universe=butler.dimensions)
        )
        table = pa.table({"classifier": list(names), "package": packages})
        butler.collections.register("models")
        butler.put(table, "blend_model_packages", band="i", run="models")


def test_pipetask_writes_the_tables(tables: dict[tuple[str, int], Table]) -> None:
    assert len(tables) == 2 * len(TABLES)
    ids = np.concatenate([np.asarray(t["id"]) for (name, _), t in tables.items() if name == TABLES[0]])
    assert len(ids) > 20 and len(np.unique(ids)) == len(ids)
    for (name, _), table in tables.items():
        assert all(c.description for c in table.itercols()), name
        # The Butler reads a dimensionless unit back as none.
        assert {str(c.unit) for c in table.itercols()} <= {"None", "pix", "pix2", "deg", "nJy", "mag"}
        assert str(table[table.colnames[2]].unit) == ("None" if name == "deep_coadd_blend_peak" else "pix")
    for patch in {patch for _, patch in tables}:
        blend = tables[TABLES[0], patch]
        assert np.isfinite(blend["ra"]).all()
        good = ~blend["flag"]
        assert good.mean() > 0.8
        assert ((blend["p_blended"][good] >= 0) & (blend["p_blended"][good] <= 1)).all()
        assert np.isnan(blend["p_blended"][~good]).all()


def test_overlap_is_counted_once(tables: dict[tuple[str, int], Table]) -> None:
    """Footprints in the overlap are in both tables, and inner in one."""
    first, second = (tables[TABLES[0], patch] for patch in sorted({p for _, p in tables}))
    separation = np.hypot(
        np.asarray(first["x"])[:, None] - np.asarray(second["x"]),
        np.asarray(first["y"])[:, None] - np.asarray(second["y"]),
    )
    one, two = np.nonzero(separation < 1e-6)
    assert len(one) >= 2
    assert (first["is_patch_inner"][one] ^ second["is_patch_inner"][two]).all()


def test_one_process_gives_the_same(
    execute: Callable[..., Any], repo: Path, tables: dict[tuple[str, int], Table]
) -> None:
    with execute("serial", where="") as butler:
        run = butler.run
    _assert_same(tables, _read(repo, run))


def test_bps_gives_the_same(repo: Path, tables: dict[tuple[str, int], Table], tmp_path: Path) -> None:
    """A batch that simulates a coadd, as the command did, and finds the blends in it."""
    pipelines = [f"  - location: {ROOT / 'pipelines' / name}.yaml" for name in ("simulate", "blendid")]
    pipeline = tmp_path / "both.yaml"
    pipeline.write_text("\n".join(["description: Both.", "imports:", *pipelines, ""]))
    _command(
        "bps", "submit", ROOT / "config" / "bps_parsl.yaml",
        "-b", repo, "-i", INPUT, "-o", "batch", "-p", pipeline, "-d", ONE, cwd=repo.parent,
    )  # fmt: skip
    _assert_same({key: table for key, table in tables.items() if key[1] == 0}, _read(repo, "batch"))
    coadds = []
    for collection in (INPUT, "batch"):
        with Butler.from_config(str(repo), collections=collection) as butler:
            (ref,) = butler.query_datasets("deep_coadd", where=ONE)
            coadds.append((butler.get(ref), butler.get("deep_coadd_truth", ref.dataId)))
    (first, first_truth), (second, second_truth) = coadds
    for plane in ("image", "variance", "mask"):
        np.testing.assert_array_equal(getattr(first, plane).array, getattr(second, plane).array)
    for name in first_truth.colnames:
        np.testing.assert_array_equal(first_truth[name], second_truth[name], err_msg=name)


def test_metadata_says_how(repo: Path, tables: dict[tuple[str, int], Table]) -> None:
    with Butler.from_config(str(repo), collections="parallel") as butler:
        (ref, *_) = butler.query_datasets("blendIdentification_metadata")
        metadata = butler.get(ref)["blendIdentification"]
    assert metadata["primary_classifier"] == "ensemble"
    assert metadata["localizer"] == "centers"
    assert metadata["psf_sigma"] == pytest.approx(1.6, abs=0.05)
    assert metadata["seconds_tables"] > 0


def test_existing_results_are_skipped(repo: Path, tables: dict[tuple[str, int], Table]) -> None:
    result = _pipetask(repo, "parallel", "--extend-run", "--skip-existing", check=False)
    assert result.returncode == 1
    assert "skip" in (result.stderr + result.stdout).lower()


@pytest.fixture
def execute(repo: Path) -> Callable[..., Any]:
    """Run the task in process, on one patch by default, and return what it wrote."""

    def run(
        name: str,
        config: BlendIdentificationConfig | None = None,
        change: Any = None,
        inputs: Any = (INPUT,),
        where: str = ONE,
    ) -> Any:
        butler = Butler.from_config(str(repo), writeable=True)
        inputs = list(inputs)
        if change is not None:
            with Butler.from_config(str(repo), collections=INPUT) as reader:
                (ref, *_) = reader.query_datasets("deep_coadd", where=ONE)
                coadd = reader.get(ref)
            change(coadd)
            butler.collections.register(f"{name}-input")
            butler.put(coadd, "deep_coadd", ref.dataId, run=f"{name}-input")
            inputs.insert(0, f"{name}-input")
        butler.close()
        prepared = SimplePipelineExecutor.prep_butler(str(repo), inputs, name)
        executor = SimplePipelineExecutor.from_task_class(
            BlendIdentificationTask, config, where=where, butler=prepared
        )
        executor.run(register_dataset_types=True)
        return prepared

    return run


def _written(butler: Butler) -> int:
    return sum(len(butler.query_datasets(name, explain=False)) for name in TABLES)


def test_nothing_to_do(execute: Callable[..., Any]) -> None:
    def blank(coadd: Any) -> None:
        coadd.image.array[...] = 0

    def no_data(coadd: Any) -> None:
        coadd.mask.set("NO_DATA", np.ones(coadd.image.array.shape, dtype=bool))

    for name, change in (("blank", blank), ("no-data", no_data)):
        butler = execute(name, change=change)
        assert _written(butler) == 0
        (ref,) = butler.query_datasets("blendIdentification_metadata")
        butler.close()


def test_data_that_cannot_be_processed(repo: Path, execute: Callable[..., Any]) -> None:
    """The quantum fails, and the facts about it reach the log dataset."""

    def damage(coadd: Any) -> None:
        coadd.image.array[...] = np.nan

    with pytest.raises(NoFinitePixelsError):
        execute("nan", change=damage)
    result = _pipetask(repo, "nan-run", "-d", "patch = 0", inputs=f"nan-input,{INPUT}", check=False)
    assert result.returncode == 1
    with Butler.from_config(str(repo), collections="nan-run") as butler:
        (ref,) = butler.query_datasets("blendIdentification_log")
        log = butler.get(ref)
    assert log.extra["exception"]["type_name"].endswith("NoFinitePixelsError")
    failure = log.extra["metadata"]["metadata"]["blendIdentification"]["metadata"]["failure"]
    assert failure["scalars"] == {"n_pixels": 256 * 256, "n_finite": 0}


def test_models_from_the_butler(repo: Path, execute: Callable[..., Any]) -> None:
    _write_models(repo, "centers")
    config = BlendIdentificationConfig()
    config.useButlerModelPackages = True
    config.classifiers["features"].modelPackage = ""
    config.classifiers["ensemble"].modelPackage = ""
    config.localizer["centers"].modelPackage = ""
    with execute("butler-models", config, inputs=(INPUT, "models")) as butler:
        assert _written(butler) == 3
        (ref,) = butler.query_datasets("blendIdentification_metadata")
        metadata = butler.get(ref)["blendIdentification"]
        (ref,) = butler.query_datasets(TABLES[1])
        peaks = butler.get(ref)
    assert {name: metadata[f"model_{name}"] for name in MODELS} == MODELS
    assert metadata["model_of_localizer"] == "centers-localizer-i-1"
    assert np.isfinite(peaks["probability"]).any()


def test_a_band_without_models_in_the_butler(six_bands: Path) -> None:
    """A band whose dataset is not there does not keep the graph from being built."""
    _write_models(six_bands)
    config = BlendIdentificationConfig()
    config.useButlerModelPackages = True
    prepared = SimplePipelineExecutor.prep_butler(str(six_bands), ["simulated", "models"], "butler-bands")
    executor = SimplePipelineExecutor.from_task_class(
        BlendIdentificationTask, config, where="band IN ('i', 'z')", butler=prepared
    )
    executor.run(register_dataset_types=True)
    assert _bands(six_bands, prepared.run) == "i"
    # Without one of a localiser there, peaks have no probabilities, whatever the config names.
    with Butler.from_config(str(six_bands), collections=prepared.run) as butler:
        blend, peaks = (butler.get(*butler.query_datasets(name)) for name in TABLES[:2])
    assert blend["flag_no_localizer"].all() and np.isnan(peaks["probability"]).all()


@pytest.fixture(scope="module")
def six_bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a small patch in six bands."""
    path = tmp_path_factory.mktemp("bands") / "repo"
    _command(
        "blendid", "simulate", "--butler", path, "--bands", "ugrizy", "--size", "128", "--patches", "1",
        cwd=path.parent,
    )  # fmt: skip
    return path


DRP = ROOT / "pipelines" / "ingredients" / "drp.yaml"
NOT_LEGACY = ("-c", "blendIdentification:useLegacyCoadd=False", "-c", "blendIdentification:useSkyMap=False")
"""The simulated coadds are none of lsst.afw, and there is no lsst.skymap."""


def _bands(repo: Path, collection: str) -> str:
    """Bands that have a table of footprints."""
    with Butler.from_config(str(repo), collections=collection) as butler:
        return "".join(
            b for b in "ugrizy" if butler.query_datasets(TABLES[0], where=f"band = '{b}'", explain=False)
        )


def test_bands_without_a_model_do_not_stop_the_others(six_bands: Path) -> None:
    """The pipeline of the data release, as it is, in six bands of which one has a model."""
    result = _command(
        "pipetask", "run", "-b", six_bands, "-i", "simulated", "-o", "one-band", "-p", DRP, *NOT_LEGACY,
        "--register-dataset-types", cwd=six_bands.parent,
    )  # fmt: skip
    assert _bands(six_bands, "one-band") == "i"
    for band in "ugrzy":
        said = (
            f"classifier 'ensemble' has no model for band {band} (ensemble-i-1 is for i); "
            f"name one in classifiers['ensemble'].modelPackages['{band}']"
        )
        assert said in result.stderr
    with Butler.from_config(str(six_bands), collections="one-band") as butler:
        assert len(butler.query_datasets("blendIdentification_log")) == 6


def test_models_by_band_in_a_pipeline_file(six_bands: Path, tmp_path: Path) -> None:
    model = {}
    for name in ("ensemble", "features", "centers-localizer"):
        package = ModelPackage.read(f"{name}-i-1")
        package.metadata["name"] = f"{name}-r"
        package.metadata["inputs"]["bands"] = ["r"]
        model[name] = package.write(tmp_path / f"{name}-r.blendid")
    pipeline = tmp_path / "bands.yaml"
    pipeline.write_text(
        f"""\
description: Blends in the data release pipeline, with a model for r.
imports:
  - location: {DRP}
tasks:
  blendIdentification:
    class: lsst.meas.blendid.BlendIdentificationTask
    config:
      useLegacyCoadd: false
      useSkyMap: false
      python: |
        config.classifiers["ensemble"].modelPackages["r"] = "{model["ensemble"]}"
        config.classifiers["ensemble"].modelPackages["u"] = ""
        config.classifiers["features"].modelPackages["r"] = "{model["features"]}"
        config.classifiers["features"].modelPackages["u"] = ""
        config.localizer["centers"].modelPackages["r"] = "{model["centers-localizer"]}"
"""
    )
    prepared = SimplePipelineExecutor.prep_butler(str(six_bands), ["simulated"], "two-bands")
    executor = SimplePipelineExecutor.from_pipeline_filename(str(pipeline), butler=prepared)
    assert len(executor.predicted.quanta_by_task["blendIdentification"]) == 6
    executor.run(register_dataset_types=True)
    assert _bands(six_bands, prepared.run) == "ri"
    with Butler.from_config(str(six_bands), collections=prepared.run) as butler:
        models = {}
        for ref in butler.query_datasets("blendIdentification_metadata", where="band IN ('r', 'i')"):
            metadata = butler.get(ref)["blendIdentification"]
            keys = ("model_ensemble", "model_features", "model_of_localizer")
            models[ref.dataId["band"]] = [metadata[key] for key in keys]
    assert models == {
        "r": ["ensemble-r", "features-r", "centers-localizer-r"],
        "i": ["ensemble-i-1", "features-2", "centers-localizer-i-1"],
    }


def test_a_missing_model_is_told_before_the_graph_is_built(repo: Path, tmp_path: Path) -> None:
    overrides = tmp_path / "models.py"
    overrides.write_text("config.classifiers['features'].modelPackages['r'] = 'no/such.blendid'\n")
    result = _pipetask(repo, "missing", "-C", f"blendIdentification:{overrides}", check=False)
    assert result.returncode != 0
    assert "classifiers['features'].modelPackages['r']: cannot read model package" in result.stderr
    assert "no/such.blendid (no such file); shipped models: " in result.stderr
    assert "quantum graph" not in result.stderr.lower()
    with Butler.from_config(str(repo)) as butler:
        assert not butler.collections.query("missing*")


def test_legacy_coadds_in_the_graph(tmp_path: Path) -> None:
    """With useLegacyCoadd the quanta read afw exposures; lsst.afw is not needed to build their graph."""
    layout = make_demo_repository(tmp_path / "modern", patches=1, patch_size=64, overlap=0, seed=1)
    root = str(tmp_path / "legacy")
    Butler.makeRepo(root)
    with Butler.from_config(root, writeable=True) as butler:
        projection = make_sky_projection(
            layout.patches[0].outer_bbox, skymap=layout.skymap, tract=layout.tract, pixel_scale=0.2
        )
        register_dimensions(butler, projection, layout.patches, bands=("i",))
        dimensions = ["skymap", "tract", "patch", "band"]
        legacy = DatasetType("deep_coadd", dimensions, "ExposureF", universe=butler.dimensions)
        butler.registry.registerDatasetType(legacy)
        butler.collections.register("coadds")
        # The graph asks the registry only; no exposure has to exist.
        butler.registry.insertDatasets(legacy, layout.data_ids, run="coadds")
    config = BlendIdentificationConfig()
    config.useLegacyCoadd = True
    prepared = SimplePipelineExecutor.prep_butler(root, ["coadds"], "out")
    executor = SimplePipelineExecutor.from_task_class(BlendIdentificationTask, config, butler=prepared)
    graph = executor.predicted.pipeline_graph
    assert graph.dataset_types["deep_coadd"].storage_class_name == "ExposureF"
    assert set(graph.outputs_of("blendIdentification")) >= set(TABLES)
    assert len(executor.predicted.quanta_by_task["blendIdentification"]) == 1


def test_legacy_pipeline_file() -> None:
    graph = Pipeline.from_uri(str(ROOT / "pipelines" / "ingredients" / "drp.yaml")).to_graph()
    assert set(graph.outputs_of("blendIdentification")) >= set(TABLES)
    assert graph.tasks["blendIdentification"].inputs["coadd"].storage_class_name == "ExposureF"


@pytest.mark.parametrize("name", ["rubin.py", "buchanan2022.py"])
def test_config_files(
    repo: Path, execute: Callable[..., Any], name: str, tables: dict[tuple[str, int], Table]
) -> None:
    config = BlendIdentificationConfig()
    config.load(str(ROOT / "config" / name))
    with execute(f"config-{name.removesuffix('.py')}", config) as butler:
        run = butler.run
    table = _read(repo, run)[TABLES[0], 0]
    assert len(table) > 10
    if name == "rubin.py":
        assert np.array_equal(table["id"], tables[TABLES[0], 0]["id"])


def test_plugin_from_another_package(repo: Path, tmp_path: Path) -> None:
    """A wheel that knows nothing of this tree adds a classifier that pipetask can run."""
    shutil.copytree(ROOT / "tests" / "plugin_wheel", tmp_path / "source")
    pip = (sys.executable, "-m", "pip", "--quiet")
    _command(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "./source", cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    _command(*pip, "install", "--no-deps", "--target", "site", wheel, cwd=tmp_path)
    (tmp_path / "plugin.py").write_text(
        "config.classifiers.names = ['peaks', 'area']\n"
        "config.classifiers['area'].middle = 100.0\n"
        "config.primaryClassifier = 'area'\n"
    )
    override = f"blendIdentification:{tmp_path / 'plugin.py'}"
    _pipetask(repo, "plugin", "-d", "patch = 0", "-C", override, path=tmp_path / "site")
    table = _read(repo, "plugin")[TABLES[0], 0]
    expected = table["area"] / (table["area"] + 100.0)
    good = ~table["flag"]
    np.testing.assert_allclose(table["p_blended_area"][good], expected[good], rtol=1e-6)
    assert np.array_equal(table["p_blended"], table["p_blended_area"], equal_nan=True)
