# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""``blendid demo``: the whole task at work on simulated coadds, with a report."""

from __future__ import annotations

__all__ = ("MARKER", "DemoFolder", "demo")

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .._files import atomic_path
from ._common import CommandError, MisuseError, common_options, pipeline_uri
from ._options import overwrite_option, seed_option

if TYPE_CHECKING:
    from ..evaluation.scored_tables import CoaddTables
    from ..evaluation.section import Section
    from ..simulation.tracts.demo import DemoRepository

_REPOSITORY, _FIGURES, _LOG, _REPORT = "repo", "figures", "pipetask.log", "report.html"
_OUTPUT = "blends"
_TASK = "blendIdentification"
_REFERENCE = "area + peak counts"
"""Baseline that differences are taken from."""
MARKER = ".blendid-demo"
"""Name of the file that tells the folder of a demo from any other."""
_MARKER_TEXT = "Written by blendid demo, which may remove what lies beside this file.\n"
_CHATTER = ("quantum_graph_builder INFO", "Unable to import", "Preparing execution", "Constructing task")
"""Messages of pipetask that are kept in its log only: steps of building the
graph, and notes about parts of the pipelines that are not installed."""


@dataclass(frozen=True)
class _Tables:
    """What came back from the Butler."""

    coadds: list[CoaddTables]
    seconds: dict[str, list[float]]
    """Seconds of each stage, patch by patch."""
    primary: str
    """Classifier that ``p_blended`` is of."""


@click.command()
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("blendid-demo"),
    show_default=True,
    help="Folder for the repository, the figures and the report.",
)
@overwrite_option("Replace what an earlier demo left in the folder.")
@click.option(
    "--size",
    type=click.IntRange(256, 4096),
    default=2048,
    show_default=True,
    help="Side of a patch in pixels; neighbours share a strip a sixteenth as wide.",
)
@seed_option("Seed of sky and noise.")
@common_options
def demo(work: Path, overwrite: bool, size: int, seed: int) -> None:
    """Show the whole task at work on simulated coadds, with a report.

    Makes a Butler repository with two overlapping patches, runs the pipeline on
    it with pipetask, reads the tables back, compares them with the true
    galaxies, and writes figures and a report to look at.

    \b
    Examples:
      blendid demo
      blendid demo --work /scratch/demo --overwrite
      blendid demo --size 512           (in a hurry)
    """  # noqa: D301
    start = time.perf_counter()
    _check_extras()
    folder = DemoFolder(work, (_REPOSITORY, _FIGURES, _LOG, _REPORT))
    folder.prepare(overwrite)
    try:
        _run(work, size, seed)
    except KeyboardInterrupt:
        folder.remove()
        raise
    click.echo(
        f"\nDone in {time.perf_counter() - start:.0f} s. Open {_readable(work / _REPORT)} in a browser."
    )


def _run(work: Path, size: int, seed: int) -> None:
    """Do it all in a folder that is ready."""
    from ..simulation import get_survey, stderr_progress
    from ..simulation.tracts.demo import make_demo_repository

    with _step(f"Drawing two patches of {size} x {size} pixels into {_readable(work / _REPOSITORY)}"):
        repository = make_demo_repository(
            work / _REPOSITORY,
            patches=2,
            patch_size=size,
            overlap=2 * (size // 32),
            seed=seed,
            progress=stderr_progress("  galaxies"),
        )
    command = _pipetask_command(repository)
    click.echo(f"\nRunning the pipeline:\n\n{_format_command(command)}\n")
    with _step(f"Its messages (in full in {_readable(work / _LOG)})"):
        _run_pipetask(command, work / _LOG)
    with _step("Reading the tables back and comparing them with the true galaxies"):
        tables = _read_tables(repository)
        section = _compare(tables)
    from ..evaluation.report import draw_demo, render_demo_report

    scale = get_survey(repository.band).pixel_scale
    with _step(f"Making figures and {_readable(work / _REPORT)}"):
        figures = draw_demo(section, tables.coadds, tables.primary, pixel_scale=scale)
        folder = work / _FIGURES
        folder.mkdir()
        for name, png in figures.items():
            if png is not None:
                (folder / f"{name}.png").write_bytes(png)
        page = render_demo_report(
            section,
            tables.coadds,
            tables.primary,
            figures,
            seconds=tables.seconds,
            pixel_scale=scale,
            commands=_format_command(command),
            usage=_usage(repository),
            made_by=_made_by(),
        )
        with atomic_path(work / _REPORT) as temporary:
            temporary.write_text(page, encoding="utf-8")
    _print_summary(section, tables)


def _compare(tables: _Tables) -> Section:
    """Set the tables beside the truth, and beside what area and numbers of peaks alone tell."""
    from ..evaluation.baselines import cross_fitted_baselines
    from ..evaluation.bootstrap import choose_units
    from ..evaluation.scored_tables import score_tables
    from ..evaluation.section import make_section

    scored = score_tables("demo", tables.coadds, primary=tables.primary)
    labelled = scored.labelled
    x, y = labelled.samples.centroid.T
    units = choose_units(x, y, labelled.sky)
    baselines = cross_fitted_baselines(labelled.samples, labelled.counts, units.index)
    return make_section(scored.with_predictions(baselines), (), reference=_REFERENCE)


def _check_extras() -> None:
    """Say what is missing before any work is done."""
    from importlib.util import find_spec

    missing = [name for name in ("galsim", "jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise CommandError(
            f"the demo needs {' and '.join(missing)}; install what is missing, or everything with 'make'"
        )
    _find_pipetask()


class _step:  # noqa: N801  (used like a function)
    """Announce a piece of work and say how long it took."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __enter__(self) -> None:
        click.echo(f"{self._text} ...")
        self._start = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            click.echo(f"  {time.perf_counter() - self._start:.1f} s")


def _readable(path: Path) -> str:
    """Path as one would type it here."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _find_pipetask() -> str:
    """Path of the ``pipetask`` of this very installation."""
    # The one beside the interpreter first: that on PATH may belong to another environment.
    beside = Path(sys.executable).with_name("pipetask")
    found = str(beside) if beside.is_file() else shutil.which("pipetask")
    if found is None:
        raise CommandError(
            "pipetask was not found; it comes with lsst-ctrl-mpexec, install everything with 'make'"
        )
    return found


def _pipetask_command(repository: DemoRepository) -> list[str]:
    """Command line of the pipeline run."""
    return [
        _readable(Path(_find_pipetask())),
        "run",
        "-b",
        _readable(repository.root),
        "-p",
        pipeline_uri(),
        "-i",
        repository.collection,
        "-o",
        _OUTPUT,
        "-d",
        f"skymap='{repository.skymap}' AND tract={repository.tract} AND band='{repository.band}'",
        "--register-dataset-types",
    ]


def _format_command(command: Sequence[str]) -> str:
    """Command as one would type it, an option a line."""
    words = [f'"{word}"' if "'" in word and '"' not in word else shlex.quote(word) for word in command]
    text = " ".join(words[:2])
    for word in words[2:]:
        text += f" \\\n    {word}" if word.startswith("-") else f" {word}"
    return text


def _run_pipetask(command: Sequence[str], log: Path) -> None:
    """Run the pipeline, showing its messages and keeping them in a file."""
    lines: list[str] = []
    with (
        log.open("w", encoding="utf-8") as stream,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                stream.write(line)
                lines.append(line.rstrip())
                if not any(text in line for text in _CHATTER):
                    click.echo(f"  {line.rstrip()}")
        except KeyboardInterrupt:
            # The terminal has interrupted the child as well: give it time to stop.
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if process.returncode != 0:
        last = next((line for line in reversed(lines) if line.strip()), "no message")
        raise CommandError(
            f"pipetask failed with status {process.returncode}: {last.strip()} (all of it in {log})"
        )


def _read_tables(repository: DemoRepository) -> _Tables:
    """Read back what the pipeline wrote, and what is really there."""
    from lsst.daf.butler import Butler

    from ..evaluation.scored_tables import CoaddTables
    from ..images.psf import summarize_psf
    from ..samples import SceneContext
    from ..simulation.survey import AB_ZERO_POINT_NJY

    coadds: list[CoaddTables] = []
    seconds: dict[str, list[float]] = {}
    primary = ""
    with Butler.from_config(str(repository.root), collections=[_OUTPUT, repository.collection]) as butler:
        for data_id in repository.data_ids:
            coadd = butler.get("deep_coadd", data_id)
            inner = coadd.patch.inner_bbox
            coadds.append(
                CoaddTables(
                    name=f"patch {data_id['patch']}",
                    image=np.asarray(coadd.image.array, dtype=np.float32),
                    noise=float(np.sqrt(np.nanmedian(coadd.variance.array))),
                    xy0=(int(coadd.bbox.x.min), int(coadd.bbox.y.min)),
                    psf=summarize_psf(coadd.psf, coadd.bbox),
                    context=SceneContext(repository.band, AB_ZERO_POINT_NJY),
                    inner=(inner.x.min, inner.y.min, inner.x.max, inner.y.max),
                    blend=butler.get("deep_coadd_blend", data_id),
                    peaks=butler.get("deep_coadd_blend_peak", data_id),
                    spans=butler.get("deep_coadd_blend_spans", data_id),
                    truth=butler.get("deep_coadd_truth", data_id),
                )
            )
            metadata: Mapping[str, Any] = butler.get(f"{_TASK}_metadata", data_id)[_TASK]
            primary = str(metadata["primary_classifier"])
            for key in metadata:
                if key.startswith("seconds_"):
                    name = (
                        key.removeprefix("seconds_").replace("classifier_", "classifier ").replace("_", " ")
                    )
                    seconds.setdefault(name, []).append(float(metadata[key]))
    return _Tables(coadds, seconds, primary)


def _usage(repository: DemoRepository) -> str:
    """Code that reads the tables."""
    first = repository.data_ids[0]
    keys = ", ".join(f"{key}={value!r}" for key, value in first.items())
    return (
        "from lsst.daf.butler import Butler\n\n"
        f'butler = Butler.from_config("{_readable(repository.root)}", collections="{_OUTPUT}")\n'
        f'blend = butler.get("deep_coadd_blend", {keys})\n'
        'likely = blend[(blend["p_blended"] > 0.5) & ~blend["flag"] & blend["is_patch_inner"]]'
    )


def _made_by() -> str:
    from .. import __version__

    return f"Written by blendid demo, lsst.meas.blendid {__version__}. Figures are also in {_FIGURES}/."


def _print_summary(section: Section, tables: _Tables) -> None:
    """Print the numbers as plain columns."""
    comparison, p = section.comparison, section.scored.p_blended(tables.primary)
    n_duplicates = sum(len(coadd.blend) for coadd in tables.coadds) - comparison.n_footprints
    click.echo(
        f"\n{comparison.n_footprints:,} footprints ({n_duplicates:,} more in overlaps, counted once; "
        f"{np.count_nonzero(~np.isfinite(p))} not classified)"
    )
    blended, single, empty = (f"{100 * comparison.mix[k]:.1f} %" for k in ("blended", "unblended", "empty"))
    click.echo(
        f"  blended {blended}, single {single}, empty {empty} in truth; "
        f"expected from the probabilities: {100 * np.nanmean(p):.1f} % blended\n"
    )
    click.echo(comparison.format())
    if section.peaks is not None:
        click.echo(f"\n{section.peaks.format()}")
    names = [coadd.name for coadd in tables.coadds]
    click.echo(f"\n{'Seconds in the task':<22}" + "".join(f"{name:>10}" for name in names))
    for stage, values in tables.seconds.items():
        click.echo(f"  {stage:<20}" + "".join(f"{value:>10.3f}" for value in values))
    totals = [sum(values) for values in zip(*tables.seconds.values(), strict=True)]
    click.echo(f"  {'all stages':<20}" + "".join(f"{value:>10.3f}" for value in totals))


class DemoFolder:
    """Folder that a demo writes to, and the names of the files and folders that it makes there."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        self._names = tuple(names)
        self._made: list[Path] = []

    def prepare(self, overwrite: bool) -> None:
        """Make the folder, with nothing in it but the marker; an earlier demo is removed if it may be.

        Raises `MisuseError` if it holds things that must not be removed, `CommandError` if it cannot be
        written.
        """
        path, marker = self._path, self._path / MARKER
        try:
            found = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        except OSError as err:
            raise CommandError(
                f"{path} cannot be read ({err.strerror}); give another folder with --work"
            ) from err
        foreign = [name for name in found if name not in (*self._names, MARKER)]
        if foreign:
            raise MisuseError(f"{path} holds other things ({foreign[0]}); give another folder with --work")
        # A link could lead to the marker of another demo.
        marked = marker.is_file() and not marker.is_symlink()
        if found and not marked:
            raise MisuseError(
                f"{path} holds things that no demo made, for there is no file {MARKER} beside them "
                f"({found[0]}); give another folder with --work, or empty this one"
            )
        if len(found) > 1 and not overwrite:
            raise MisuseError(
                f"{path} holds an earlier demo; give --overwrite to replace it, or another --work"
            )
        if found and not os.access(path, os.W_OK):
            raise CommandError(f"{path} cannot be written; give another folder with --work")
        if found:
            self._remove_contents()
        try:
            self._make_folders()
            if not marked:
                with marker.open("x", encoding="utf-8") as stream:
                    self._made.append(marker)
                    stream.write(_MARKER_TEXT)
        except OSError as err:
            self.remove()
            raise CommandError(
                f"{path} cannot be made or written ({err.strerror}); give another folder with --work"
            ) from err

    def _make_folders(self) -> None:
        """Make the folder and those above it, and remember which ones there were not."""
        missing = []
        for folder in (self._path, *self._path.parents):
            if folder.exists():
                break
            missing.append(folder)
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._made.append(folder)
        if not self._path.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(self._path))

    def _remove_contents(self) -> None:
        """Remove what a demo makes; links are removed, not followed."""
        for name in self._names:
            path = self._path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove what was made since `prepare` was called: contents, marker and new folders."""
        with suppress(OSError):
            self._remove_contents()
        for path in reversed(self._made):
            with suppress(OSError):  # A folder in which others have put something stays.
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
        self._made.clear()
