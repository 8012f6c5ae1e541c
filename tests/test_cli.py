# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""The command line as a whole: help, version, how errors are reported."""

from __future__ import annotations

import ctypes
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import astropy.io.fits
import click
import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from lsst.meas.blendid import __version__
from lsst.meas.blendid._suggest import did_you_mean
from lsst.meas.blendid.cli import _common, main
from lsst.meas.blendid.cli import _main as main_module
from lsst.meas.blendid.cli._common import CommandError, common_options, describe_error, make_output_folder
from lsst.meas.blendid.cli._main import _COMMANDS, keep_interrupts
from lsst.meas.blendid.cli._options import REPLACED, CommandWithHints
from lsst.meas.blendid.training.label_tables import read_labels

HEAVY = ("numpy", "astropy", "lsst.images", "lsst.pipe.base", "numba", "galsim", "matplotlib")


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_help_lists_the_commands() -> None:
    status, out, _ = run("--help")
    assert status == 0
    for name in _COMMANDS:
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", list(_COMMANDS))
def test_help_of_each_command_has_examples(name: str) -> None:
    status, out, _ = run(name, "--help")
    assert status == 0
    assert "Examples:" in out
    assert f"blendid {name}" in out


def test_version() -> None:
    assert run("--version") == (0, f"blendid, version {__version__}\n", "")


def test_scenes_that_are_no_numbers_exit_2() -> None:
    status, _, err = run("simulate", "--out", "out", "--scenes", "1,two")
    assert status == 2
    assert "'1,two' is not a list of scene numbers such as " in err


@pytest.mark.parametrize("args", [("nonsense",), ("run",), ("run", "a.fits"), ("models", "show"), ("-x",)])
def test_misuse_exits_2(args: tuple[str, ...]) -> None:
    status, _, err = run(*args)
    assert status == 2
    assert "Error:" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--coadd", "a.fits"), "there is no option --coadd any more: give the files as DATA"),
        (("data", "--coadd=a.fits", "--size", "3"), "there is no option --coadd any more: give the files"),
        (("--no-dial",), "there is no option --no-dial any more: say --one-sky"),
        (("--coads", "a.fits"), "No such option '--coads'."),
        (("--siz", "3"), "No such option '--siz'. Did you mean '--size'?"),
    ],
)
def test_options_that_are_gone_tell_what_to_give(args: tuple[str, ...], text: str) -> None:
    replaced = {"--coadd": "give the files as DATA", "--no-dial": "say --one-sky"}

    @click.command(cls=CommandWithHints, replaced=replaced)
    @click.argument("data", nargs=-1)
    @click.option("--size", type=int)
    def command(data: tuple[str, ...], size: int | None) -> None:
        click.echo(f"{data} {size}")

    result = CliRunner().invoke(command, list(args))
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr
    assert CliRunner().invoke(command, ["a", "--size", "3"]).stdout == "('a',) 3\n"


def test_no_option_is_said_to_be_gone_that_there_is() -> None:
    for name, replaced in REPLACED.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert not set(replaced) & {flag for option in command.params for flag in option.opts}


SHARED = ("-o", "-c", "-j", "--any-band", "--config", "--model", "--overwrite", "--pixel-scale", "--psf-fwhm")
"""Options that mean the same in whatever command has them."""


@pytest.mark.parametrize("flag", [*SHARED, "--seed", "--visits", "--zero-point"])
def test_shared_options_are_the_same_everywhere(flag: str) -> None:
    """One name, one kind of value, one placeholder, given once or several times."""
    kinds: dict[object, list[str]] = {}
    for name in _COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        # Of 'models' and 'stamps', whose options are those of their commands.
        for one in command.commands.values() if isinstance(command, click.Group) else [command]:
            for param in one.params:
                if isinstance(param, click.Option) and flag in param.opts:
                    # A file or a folder to write, by its placeholder.
                    metavar = "" if flag == "-o" else param.metavar
                    long = next(option for option in param.opts if option.startswith("--"))
                    kind = long, type(param.type).__name__, metavar, param.is_flag, param.multiple
                    kinds.setdefault(kind, []).append(f"{name} {one.name}")
    assert len(kinds) == 1, kinds
    assert flag in ("--visits", "--zero-point") or len(next(iter(kinds.values()))) > 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lsst.meas.blendid.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_script_runs(tmp_path: Path) -> None:
    script = Path(__file__).resolve().parents[1] / "bin" / "blendid"
    done = subprocess.run([sys.executable, str(script), "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert __version__ in done.stdout


@pytest.fixture
def failing_command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """Stand-in for the command 'models' that raises what the list holds."""
    errors: list[BaseException] = []

    @click.command()
    @common_options
    def fail() -> None:
        raise errors[0]

    class Module:
        models = fail

    monkeypatch.setattr(main_module.importlib, "import_module", lambda *args: Module)
    return errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("the width is negative;\n give another one"), "the width is negative; give another one"),
        (KeyError("no column 'a' in the table"), "unexpected KeyError: no column 'a' in the table"),
        (FileNotFoundError(2, "No such file or directory", "x.fits"), "x.fits: No such file or directory"),
        (ZeroDivisionError("division by zero"), "unexpected ZeroDivisionError: division by zero (--debug"),
        (AssertionError(), "unexpected AssertionError"),
        (ImportError("No module named 'galsim'"), "No module named 'galsim'; install the extra"),
    ],
)
def test_failures_are_one_line(failing_command: list[BaseException], error: Exception, text: str) -> None:
    failing_command.append(error)
    status, out, err = run("models")
    assert status == 1
    assert out == ""
    assert text in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [("--debug", "models"), ("models", "--debug")])
def test_debug_shows_the_traceback(failing_command: list[BaseException], args: tuple[str, ...]) -> None:
    failing_command.append(ZeroDivisionError("division by zero"))
    result = CliRunner().invoke(main, list(args))
    assert result.exit_code == 1
    assert result.exception is failing_command[0]


def test_interrupt_exits_130(failing_command: list[BaseException]) -> None:
    failing_command.append(KeyboardInterrupt())
    status, _, err = run("models")
    assert status == 130
    assert err.count("\n") == 1
    assert "Interrupted" in err


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("simulat",), "'simulat' (did you mean 'simulate'?)"),
        (("run", "a.fits", "--out", "x", "--classifier", "feature"), "'feature' (did you mean 'features'?)"),
        (("run", "a.fits", "--out", "x", "-c", "footprints.minPixel=2"), "(did you mean 'minPixels'?)"),
        (("run", "a.fits", "--out", "x", "-c", "classifiers.peeks.a=2"), "'peeks' (did you mean 'peaks'?)"),
        (("run", "a.fits", "--out", "x", "-c", "maxPeak=2"), "'maxPeak' (did you mean 'maxPeaks'?)"),
        (("run", "a.fits", "--out", "x", "--model", "features"), "(did you mean 'features-2'?)"),
        (("models", "show", "logistics-i-1"), "(did you mean 'logistic-i-1'?)"),
        (("train", "--classifier", "esemble", "--out", "x.blendid"), "(did you mean 'ensemble'?)"),
        (("evaluate", "--out", "x", "--model", "featuresi1"), "(did you mean 'features-i-1'?)"),
        (("simulate", "--out", "x", "--bands", "I"), "'I' (did you mean 'i'?)"),
        (("simulate", "--out", "x", "--sizes", "larg"), "'larg' (did you mean 'large'?)"),
        (("simulate", "--out", "x", "--catalog", "cosmodc"), "cosmodc (did you mean 'cosmodc2'?)"),
        (("simulate", "--out", "x", "--catalog", "a.fits", "--column", "magi=m"), "(did you mean 'mag_i'?)"),
        (("simulate", "--out", "x", "-c", "population.sizescale=2"), "(did you mean 'sizeScale'?)"),
    ],
)
def test_unknown_names_suggest_near_ones(
    args: tuple[str, ...], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*args)
    assert status in (1, 2) and out == ""
    assert hint in err


def test_columns_of_labels_suggest_near_ones(tmp_path: Path) -> None:
    Table({"X": [1.0], "y": [2.0], "n_galaxy": [1]}).write(tmp_path / "labels.ecsv")
    with pytest.raises(ValueError, match=r"lacks x \(did you mean 'X'\?\), n_galaxies \(did you mean 'n_ga"):
        read_labels(tmp_path / "labels.ecsv")


def test_what_is_like_nothing_gets_no_suggestion() -> None:
    assert did_you_mean("zzz", ["features", "peaks"]) == ""
    assert did_you_mean("band", []) == ""


def test_folders_are_made_by_every_command(tmp_path: Path) -> None:
    """Those of `simulate`, `run`, `train` and `evaluate` are seen in the tests of these."""
    few = ("--train", "2", "--validation", "1", "--test", "1")
    status, _, err = run("stamps", "blendhunter", "--out", str(tmp_path / "a" / "b" / "set"), *few)
    assert status == 0, err
    assert (tmp_path / "a" / "b" / "set" / "stamp_set.json").is_file()


# Arguments and streams that cannot be used


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("run", "a.fits", "--out", ""), "empty argument after --out"),
        (("run", "a.fits", "--out="), "empty argument after --out"),
        (("run", "", "--out", "x"), "empty argument;"),
        (("train", "--classifier", "peaks", "--out", " "), "empty argument after --out"),
        (("simulate", "--butler", ""), "empty argument after --butler"),
        (("models", "show", ""), "empty argument;"),
        (("evaluate", "--out", os.fsdecode(b"caf\xe9")), r"caf\udce9 is not valid UTF-8; give"),
        (("run", os.fsdecode(b"\xff.fits"), "--out", "x"), r"\udcff.fits is not valid UTF-8; give"),
    ],
)
def test_names_that_are_none_are_told_before_the_work(
    args: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_names_in_a_folder_that_are_not_utf8(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.fits")).touch()
    except OSError as err:
        pytest.skip(f"this file system refuses such names: {err}")
    status, _, err = run("run", str(tmp_path), "--out", str(tmp_path / "out"))
    assert status == 2
    assert err.endswith("caf\\udce9.fits is not valid UTF-8; give the file or folder another name\n")


def shell(command: str, folder: Path) -> tuple[int, str, str]:
    """Run a command line of bash in which $BLENDID is the program."""
    program = f"{shlex.quote(sys.executable)} -c 'from lsst.meas.blendid.cli import main; main()'"
    line = f"set -o pipefail; {command.replace('$BLENDID', program)}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
FULL = "Error: standard output cannot be written (No space left on device)\n"


@needs_full
@pytest.mark.parametrize("command", ["--help", "models list", "models show peaks-i-1", "where"])
def test_full_output_is_told_in_one_line(command: str, tmp_path: Path) -> None:
    assert shell(f"$BLENDID {command} > /dev/full", tmp_path) == (1, "", FULL)


@needs_full
@pytest.mark.parametrize("command", ["models show nonsense", "nonsense", "run a.fits --out x", "evaluate"])
@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_errors_that_cannot_be_printed_keep_their_status(command: str, stream: str, tmp_path: Path) -> None:
    status, out, err = shell(f"$BLENDID {command} {stream}", tmp_path)
    assert (status, out, err) == (2 if command in ("nonsense", "evaluate") else 1, "", "")


@pytest.mark.parametrize("command", ["models show features-i-1", "models list", "--help"])
def test_a_reader_that_has_gone_is_no_error(command: str, tmp_path: Path) -> None:
    status, out, err = shell(f"$BLENDID {command} | true", tmp_path)
    assert (status, out, err) == (0, "", "")
    assert shell(f"$BLENDID {command} >&-", tmp_path) == (0, "", "")


@pytest.mark.parametrize("streams", ["> /dev/full", "2>&-", ">&- 2>&- <&-", "| true"])
def test_images_do_not_depend_on_what_becomes_of_messages(streams: str, tmp_path: Path) -> None:
    if "full" in streams and not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    noise = np.random.default_rng(3).normal(size=(2, 60, 70)).astype(np.float32)
    for name, pixels in zip(("a", "b"), noise, strict=True):
        astropy.io.fits.writeto(tmp_path / f"{name}.fits", pixels)
    before = (tmp_path / "a.fits").read_bytes()
    options = "--classifier peaks --psf-fwhm 0.7 --pixel-scale 0.2"
    status, out, err = shell(
        f"$BLENDID run a.fits nothing.fits b.fits --out out {options} {streams}", tmp_path
    )
    assert status == 1
    assert ("nothing.fits" in err) == ("2>&-" not in streams)
    assert (FULL in err) == ("full" in streams)
    assert (tmp_path / "a.fits").read_bytes() == before
    assert sorted({path.name.split(".")[0] for path in (tmp_path / "out").iterdir()}) == ["a", "b"]


def test_any_name_can_be_printed(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).normal(size=(60, 70)).astype(np.float32)
    astropy.io.fits.writeto(tmp_path / "Łd.fits", noise)
    options = "--classifier peaks --psf-fwhm 0.7 --pixel-scale 0.2"
    command = f"PYTHONUTF8=0 PYTHONIOENCODING=latin-1 $BLENDID run *.fits --out out {options}"
    status, out, err = shell(command, tmp_path)
    assert status == 0
    assert out.startswith(r"\u0141d.fits: 0 footprints")
    assert err and all(line.startswith(r"\u0141d.fits: ") for line in err.splitlines())


def test_output_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_output_folder(folder)
    assert list(folder.iterdir()) == []
    make_output_folder(folder)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(CommandError, match=r"file cannot be written \(is a file\); choose another"):
        make_output_folder(file)
    with pytest.raises(CommandError, match=r"file.below cannot be written \(Not a directory\)"):
        make_output_folder(file / "below")


def test_messages_of_config_errors_are_short() -> None:
    from lsst.meas.blendid import FootprintConfig

    config = FootprintConfig()
    with pytest.raises(ValueError, match="thresholdValue") as caught:
        config.thresholdValue = -1.0
    text = describe_error(caught.value)
    assert "\n" not in text
    assert "thresholdValue" in text
    assert "__init__" not in text


def test_messages_of_missing_libraries_tell_one_remedy() -> None:
    assert describe_error(ImportError("no hnswlib: pip install hnswlib")) == "no hnswlib: pip install hnswlib"
    assert describe_error(ImportError("No module named 'sep'")).count("install") == 1


# Interrupts

needs_interrupts = pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is not signal.default_int_handler, reason="Ctrl-C is not Python's here"
)


def interrupt_in_callback() -> None:
    """Raise an interrupt where Python can only print it: called by compiled code."""

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    ctypes.CFUNCTYPE(None)(interrupt)()


def wait() -> None:
    for _ in range(500):
        time.sleep(0.01)


@needs_interrupts
def test_an_interrupt_in_a_callback_comes_again() -> None:
    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        interrupt_in_callback()
        wait()
    assert sys.unraisablehook is hook


@needs_interrupts
def test_one_that_is_swallowed_twice() -> None:
    seen = []

    class Deaf:
        def __del__(self) -> None:
            seen.append(True)
            wait()

    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        interrupt_in_callback()
        # The second comes while this is deleted.
        thing: Deaf | None = Deaf()
        thing = None
        assert thing is None
        wait()
    assert seen == [True]


@needs_interrupts
def test_nothing_comes_after_the_end() -> None:
    with keep_interrupts():
        interrupt_in_callback()
    time.sleep(0.2)


@needs_interrupts
def test_other_errors_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)

    def fail() -> None:
        raise ValueError("broken")

    with keep_interrupts():
        ctypes.CFUNCTYPE(None)(fail)()
    assert [unraisable.exc_type for unraisable in shown] == [ValueError]


@needs_interrupts
def test_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status and the message are those of any Ctrl-C."""

    @click.command()
    def stuck() -> None:
        interrupt_in_callback()
        wait()

    monkeypatch.setattr(type(main), "get_command", lambda *_args: stuck)
    with pytest.raises(SystemExit) as caught:
        main(["run"])
    assert caught.value.code == 130
    assert "Interrupted" in capsys.readouterr().err


# What is shown on a terminal


class Terminal(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def image(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    pixels = rng.normal(0.0, 1.0, (300, 300)).astype(np.float32)
    y, x = np.mgrid[:300, :300]
    for row, column in rng.integers(20, 280, (20, 2)):
        pixels += 15.0 * np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / 1.8**2).astype(np.float32)
    astropy.io.fits.writeto(tmp_path / "sky.fits", pixels)
    return tmp_path / "sky.fits"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_stages_are_shown_on_a_terminal_only(
    image: Path, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    stream = Terminal(is_terminal)
    monkeypatch.setattr(_common, "_PATIENCE", 0.0)
    monkeypatch.setattr(_common, "_PAUSE", 0.0)
    monkeypatch.setattr(sys, "stderr", stream)
    main(
        [
            *("run", str(image), "--psf-fwhm", "0.7", "--pixel-scale", "0.2"),
            *("--classifier", "features", "--localizer", "none"),
            "--out",
            str(image.parent / "out"),
        ],
        standalone_mode=False,
    )
    text = stream.getvalue()
    stages = re.findall(r"sky\.fits: ([a-z ]+)(?=[,\r])", text)
    for stage in ("read", "background", "smooth", "peaks", "features", "tables"):
        assert (stage in stages) == is_terminal, text
    assert bool(re.search(r"sky\.fits: features, about \d+ s left", text)) == is_terminal
    assert ("\r\033[K" in text) == is_terminal
