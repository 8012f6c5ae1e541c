# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Commands that are killed: what they leave, and whether to repeat them mends all.

Each command is killed at random times, measured in processor time of all its processes, so that the load of
the machine does not matter: by SIGKILL, by Ctrl-C (SIGINT to all processes) and by SIGTERM to the first one.
What is there then must be whole: readable, sets of files complete, and where older files are replaced, all of
a set old or all new.  The command repeated must give what it gives when nobody kills it.

    python benchmarks/kills.py [--kills N] [--seed N] [--work DIR] [COMMAND ...]

Commands: simulate, simulate-butler, train, evaluate, stamps, pipetask.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BIN = Path(__file__).resolve().parents[1] / "bin" / "blendid"
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
_POLL = 0.01
_PATIENCE = 15.0
"""Seconds that other processes of a killed command have to end."""

type Contents = dict[str, str]
"""Digest of each part of each file or dataset, by its name."""


@dataclass(frozen=True)
class Case:
    """A command to kill.

    Parameters
    ----------
    name
        Name of it.
    command
        Words, from the seed; run in a folder of its own, where they write into ``out``.
    prepare
        Makes the inputs in a folder, which is copied for each run.
    read
        Reads all that is in ``out``.
    set_of
        The set that a part belongs to, by its name: sets are complete, or not there.
    replaces
        Whether it replaces older output.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    prepare: Callable[[Path], None]
    read: Callable[[Path], Contents]
    set_of: Callable[[str], str]
    replaces: bool


def digest(*arrays: Any) -> str:
    """Hash arrays and text."""
    found = hashlib.sha256()
    for array in arrays:
        if isinstance(array, (str, bytes)):
            found.update(array.encode() if isinstance(array, str) else array)
            continue
        array = np.asarray(array)
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
    return found.hexdigest()[:16]


def read_table(table: Any) -> str:
    """Digest of the columns of an astropy table; not of its dates and the like."""
    columns = [np.ma.filled(np.ma.asarray(table[name]), 0) for name in table.colnames]
    return digest(" ".join(table.colnames), *columns)


def read_file(path: Path) -> dict[str, str]:
    """Read a file whole; the digests of its parts."""
    from astropy.io import fits
    from astropy.table import Table
    from lsst.meas.blendid.model_package import ModelPackage

    if path.suffix == ".fits":
        with fits.open(path) as hdus:
            return {f"[{i}]": digest(*([] if hdu.data is None else [hdu.data])) for i, hdu in enumerate(hdus)}
    if path.suffix == ".blendid":
        package = ModelPackage.read(path)
        facts = {f".{k}": digest(json.dumps(v, sort_keys=True)) for k, v in package.metadata.items()}
        return facts | {f"/{k}": digest(v) for k, v in package.arrays.items()}
    if path.suffix in (".parquet", ".ecsv"):
        return {"": read_table(Table.read(path))}
    if path.suffix == ".npy":
        return {"": digest(np.load(path))}
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return {f".{key}": digest(json.dumps(value)) for key, value in json.loads(text).items()}
    if path.suffix == ".html" and not text.rstrip().endswith("</html>"):
        raise ValueError(f"{path} has no end")
    return {"": digest(re.sub(r"\b\d+(\.\d+)? s\b", "", text))}


def read_folder(folder: Path) -> Contents:
    """Read all files under their final names; what is hidden is not there yet."""
    found: Contents = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found |= {f"{name}{part}": value for part, value in read_file(path).items()}
    return found


def read_repository(folder: Path, collection: str) -> Contents:
    """Read all datasets of a collection, if there are a repository and a collection."""
    from lsst.daf.butler import Butler, MissingCollectionError

    if not (folder / "butler.yaml").is_file():
        return {}
    found: Contents = {}
    with Butler.from_config(str(folder)) as butler:
        try:
            names = butler.collections.query(collection, flatten_chains=True)
        except MissingCollectionError:
            return {}
        for kind in butler.registry.queryDatasetTypes("deep_coadd*"):
            if "patch" not in kind.dimensions:
                continue
            for ref in butler.query_datasets(kind, collections=list(names), explain=False, limit=None):
                name = "/".join([kind.name, *map(str, ref.dataId.mapping.values())])
                got = butler.get(ref)
                planes = (
                    [getattr(got, plane).array for plane in ("image", "variance", "mask")]
                    if hasattr(got, "variance")
                    else None
                )
                found[name] = digest(*planes) if planes else read_table(got)
    return found


def simulate(*words: str) -> None:
    """Make inputs with the command."""
    subprocess.run([sys.executable, BIN, "simulate", *words], check=True, capture_output=True)


def prepare_coadds(folder: Path) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        words = ("--name", name, "--seed", seed, "--size", "500")
        simulate("--out", str(folder / "coadds"), *words)


def prepare_skies(folder: Path) -> None:
    (folder / "out").mkdir()
    words = ("--skies", "4", "--vary", "--size", "300")
    simulate("--recipe", str(folder / "skies.json"), *words)


def prepare_repository(folder: Path) -> None:
    simulate("--butler", str(folder / "out"), "--patches", "2", "--size", "300", "--overlap", "32")


def nothing(folder: Path) -> None:
    pass


def _blendid(*words: str) -> Callable[[int], Sequence[str]]:
    return lambda seed: (sys.executable, str(BIN), *(word.replace("{seed}", str(seed)) for word in words))


def _pipetask(_seed: int) -> Sequence[str]:
    program = (
        sys.executable,
        str(Path(sys.executable).parent / "pipetask"),
        "run",
        "--register-dataset-types",
    )
    pipeline = "resource://lsst.meas.blendid/pipelines/blendid.yaml"
    return (*program, "-b", "out", "-i", "simulated", "-o", "blends", "-p", pipeline)


def _stem(name: str) -> str:
    return name.split(".", 1)[0]


def _one_set(_name: str) -> str:
    return "all"


def _itself(name: str) -> str:
    return name


CASES = {
    case.name: case
    for case in (
        Case(
            "simulate",
            _blendid(
                *("simulate", "--out", "out", "--name", "x", "--size", "300", "--bands", "gri"),
                *("--seed", "{seed}", "--overwrite"),
            ),
            nothing,
            read_folder,
            _stem,
            True,
        ),
        Case(
            "simulate-butler",
            _blendid(
                *("simulate", "--butler", "out", "--size", "300", "--patches", "2", "--overlap", "32"),
                *("--bands", "ri", "--seed", "{seed}", "--resume"),
            ),
            nothing,
            lambda folder: read_repository(folder, "simulated"),
            _itself,
            False,
        ),
        Case(
            "train",
            _blendid(
                *("train", "skies.json", "--classifier", "logistic", "--out", "out/m.blendid"),
                *("--seed", "{seed}", "--overwrite"),
            ),
            prepare_skies,
            read_folder,
            _one_set,
            True,
        ),
        Case(
            "evaluate",
            _blendid(
                *("evaluate", "coadds", "--out", "out", "--model", "peaks-i-1"),
                *("--model", "logistic-i-1", "--bootstrap", "1{seed}", "--overwrite"),
            ),
            prepare_coadds,
            read_folder,
            _one_set,
            True,
        ),
        Case(
            "stamps",
            _blendid(
                *("stamps", "blendhunter", "--out", "out/set", "--train", "60", "--validation", "0"),
                *("--test", "40", "--noise", "15", "--seed", "{seed}", "--overwrite"),
            ),
            lambda folder: (folder / "out").mkdir(),
            read_folder,
            _one_set,
            True,
        ),
        Case(
            "pipetask",
            _pipetask,
            prepare_repository,
            lambda folder: read_repository(folder, "blends"),
            _itself,
            False,
        ),
    )
}


def session_times(session: int) -> tuple[float, list[int]]:
    """Processor seconds of the processes of a session and of those they waited for, and their numbers."""
    ticks, alive = 0, []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            words = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == session:
            ticks += sum(map(int, words[11:15]))
            if words[0] not in "ZX":
                alive.append(int(entry))
    return ticks / os.sysconf("SC_CLK_TCK"), alive


@dataclass(frozen=True)
class Run:
    """How a command ended.

    Parameters
    ----------
    status
        Exit status.
    seconds
        Processor time that was seen.
    killed
        Whether the signal found it running.
    lingered
        Whether processes of it did not end by themselves.
    text
        The end of what it said.
    """

    status: int
    seconds: float
    killed: bool
    lingered: bool
    text: str


def run(
    words: Sequence[str], folder: Path, kill_at: float | None = None, number: int = signal.SIGKILL
) -> Run:
    """Run a command in a folder, and kill it once it has used some processor time.

    Parameters
    ----------
    words
        The command.
    folder
        Where.
    kill_at
        Processor time, seconds; `None` to let it end.
    number
        Signal; SIGTERM goes to the first process alone.

    Returns
    -------
    run
        How it ended.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = folder / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(word) for word in words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            # Whoever starts this in the background may have it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        seconds, killed = 0.0, False
        while process.poll() is None:
            seconds = max(seconds, session_times(process.pid)[0])
            if kill_at is not None and seconds >= kill_at and not killed:
                killed = True
                if number == signal.SIGTERM:
                    process.send_signal(number)
                else:
                    os.killpg(process.pid, number)
            time.sleep(_POLL)
    end = time.monotonic() + _PATIENCE
    while (alive := session_times(process.pid)[1]) and time.monotonic() < end:
        time.sleep(_POLL)
    for left in alive:
        os.kill(left, signal.SIGKILL)
    return Run(process.returncode, seconds, killed, bool(alive), log.read_text(errors="replace")[-1000:])


def check_sets(found: Contents, allowed: Sequence[Contents], set_of: Callable[[str], str]) -> str | None:
    """Say what is wrong with what a killed command left.

    Parameters
    ----------
    found
        What there is.
    allowed
        What there may be: the whole of a set must be as in one of these, or not there.
    set_of
        Set of a part.

    Returns
    -------
    fault
        A line, or `None`.
    """
    for name in sorted({set_of(part) for part in found}):
        mine = {part: value for part, value in found.items() if set_of(part) == name}
        if not any(mine == {p: v for p, v in one.items() if set_of(p) == name} for one in allowed):
            return f"set {name!r} is neither old nor new: {', '.join(mine)[:200]}"
    return None


def measure(
    case: Case, kills: int, seed: int, work: Path, say: Callable[[str], None] = print
) -> Counter[str]:
    """Kill a command many times.

    Parameters
    ----------
    case
        The command.
    kills
        How often.
    seed
        Seed of the times.
    work
        Folder for all that is written.
    say
        Called with a line on each fault.

    Returns
    -------
    counts
        How often it was killed, ended before, left whole files, left hidden ones, was the same when
        repeated, and what of it went wrong.
    """
    inputs = work / f"{case.name}-inputs"
    inputs.mkdir(parents=True)
    case.prepare(inputs)

    def fresh(name: str, origin: Path) -> Path:
        folder = work / f"{case.name}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(origin, folder, symlinks=True)
        return folder

    def finish(folder: Path, of: int) -> Run:
        result = run(case.command(of), folder)
        if result.status:
            raise RuntimeError(f"{case.name} fails without being killed: {result.text}")
        return result

    first, again = fresh("first", inputs), fresh("again", inputs)
    finish(first, 1)
    # The first run may have compiled what the others find.
    seconds = finish(again, 1).seconds
    expected, second = case.read(first / "out"), case.read(again / "out")
    # Dates and random numbers, which differ without a kill, too.
    varying = {name for name in expected if second.get(name) != expected[name]}

    def read(folder: Path) -> Contents:
        return {name: value for name, value in case.read(folder / "out").items() if name not in varying}

    reference = read(first)
    older, old = inputs, dict[str, str]()
    if case.replaces:
        older = fresh("older", inputs)
        finish(older, 2)
        old = read(older)
    if not reference or varying >= set(expected):
        raise RuntimeError(f"{case.name} gives nothing that could be compared")
    counts: Counter[str] = Counter()
    rng = np.random.default_rng(seed)
    for k in range(kills):
        number = SIGNALS[k % len(SIGNALS)]
        replaces = case.replaces and (k // len(SIGNALS)) % 2 == 1
        folder = fresh("killed", older if replaces else inputs)
        at = float(rng.uniform(0.02, 1.0)) * seconds
        result = run(case.command(1), folder, at, number)
        when = f"{case.name}, {signal.Signals(number).name} after {at:.2f} of {seconds:.2f} s"
        counts["killed" if result.killed and result.status else "ended before"] += 1
        counts["processes that lingered"] += result.lingered
        try:
            fault = check_sets(read(folder), [reference, *([old] if replaces else [])], case.set_of)
        except Exception as err:
            fault = f"{type(err).__name__}: {err}"
        if fault is None:
            counts["whole"] += 1
        else:
            say(f"{when}: not whole: {fault}")
        counts["hidden leftovers"] += any(path.name.startswith(".") for path in folder.rglob("*"))
        repeated = run(case.command(1), folder)
        if repeated.status:
            say(f"{when}: repeated, exits {repeated.status}: {repeated.text}")
            continue
        try:
            found = read(folder)
        except Exception as err:
            say(f"{when}: repeated, not whole: {type(err).__name__}: {err}")
            continue
        if found == reference:
            counts["same when repeated"] += 1
        else:
            names = sorted(n for n in found.keys() | reference.keys() if found.get(n) != reference.get(n))
            say(f"{when}: repeated, other {', '.join(names)[:300]}")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=f"any of {', '.join(CASES)}")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder to keep what is written")
    args = parser.parse_args()
    if unknown := set(args.commands) - set(CASES):
        parser.error(f"unknown {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        work = args.work or Path(temporary)
        for name in args.commands or CASES:
            counts = measure(CASES[name], args.kills, args.seed, work)
            text = ", ".join(f"{what} {n}" for what, n in counts.items() if n)
            print(f"{name}: {args.kills} kill points: {text}", flush=True)


if __name__ == "__main__":
    main()
