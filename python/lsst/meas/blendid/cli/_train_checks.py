# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""What of the options of ``blendid train`` makes no sense together, or could not work after an hour."""

from __future__ import annotations

__all__ = ("check_libraries", "check_members", "check_options", "check_output")

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._common import CommandError, MisuseError, make_output_folder
from ._train_options import TrainOptions

if TYPE_CHECKING:
    from ..classifiers import BlendClassifier

_LIBRARIES = {
    "muygps": ("MuyGPyS", "muygps"),
    "sep": ("sep", "baselines"),
}
"""Optional library that a classifier is fitted with, and the extra that brings it."""
_NETWORKS = ("cnn", "centers")
"""Classifiers that need Keras and its backend."""


def check_options(o: TrainOptions) -> None:
    """Refuse options that make no sense together.

    Parameters
    ----------
    o
        The options.

    Raises
    ------
    click.UsageError
        Raised for options that exclude each other.
    MisuseError
        Raised if a coadd lacks its truth.
    """
    simulated = o.scenes is not None or o.n_parametric is not None
    kinds = {
        "--coadd": bool(o.coadds or o.tables or o.labels),
        "--butler": o.butler is not None,
        "--stamps": bool(o.stamp_sets),
        "--like": o.like is not None,
    }
    given = [name for name, use in kinds.items() if use]
    if len(given) > 1 or (given and simulated and given != ["--like"]) or (o.like and o.scenes):
        raise click.UsageError(
            "--coadd, --butler, --stamps, --like and simulated scenes (--scenes, --parametric) exclude each "
            "other; only --parametric goes with --like"
        )
    for names, use, condition in (
        ("--test-stamps and --stamp-noise go with --stamps", o.test_sets or o.levels, o.stamp_sets),
        (
            "--sizes, --simulated-fwhm and --visits go with --no-dial",
            o.sizes or o.fwhm or o.visits,
            not o.dial,
        ),
        ("--no-dial goes with simulated scenes, not with --like", not o.dial, not given),
        ("--zero-point goes with --like", o.zero_point is not None, o.like),
        ("--band goes with simulated scenes", o.band, not given or o.like),
        ("--collections and --where go with --butler", o.collections or o.where, o.butler),
        (
            "--psf-fwhm and --pixel-scale go with --coadd and --like",
            o.psf_fwhm or o.pixel_scale,
            o.coadds or o.like,
        ),
        ("--noise goes without --stamps, whose noise is known", o.noise, not o.stamp_sets),
    ):
        if use and not condition:
            raise click.UsageError(names)
    if o.butler is not None and not o.collections:
        raise click.UsageError("--butler needs --collections")
    if o.stamp_sets and o.validation_scenes:
        raise click.UsageError("--validation-scenes goes without --stamps, which have their own")
    if o.tables and o.labels:
        raise click.UsageError("--truth and --labels exclude each other")
    if len(o.coadds) != len(o.tables or o.labels):
        raise MisuseError(
            f"{len(o.coadds)} --coadd and {len(o.tables or o.labels)} --truth or --labels; "
            "each coadd needs its truth"
        )


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse an output that could not be written or used after minutes of training.

    Parameters
    ----------
    path
        File to write.
    overwrite
        Whether an older one may be replaced.

    Raises
    ------
    MisuseError
        Raised if it is no name of a model package.
    CommandError
        Raised if it exists or its folder cannot be written.
    """
    if not path.name.removesuffix(".blendid") or not path.name.endswith(".blendid"):
        raise MisuseError(f"--out {path}: the name of a model package ends with .blendid")
    if path.is_dir():
        raise MisuseError(f"--out {path} is a folder; give the file to write")
    if path.exists() and not overwrite:
        raise CommandError(f"{path} exists; choose another --out or give --overwrite")
    make_output_folder(path.parent)


def check_libraries(classifier: str, config: Any, *, goes_on: bool) -> None:
    """Refuse to start what lacks the library that it is fitted with.

    Parameters
    ----------
    classifier
        Name of the classifier.
    config
        Its config.
    goes_on
        Whether it goes on from a model.

    Raises
    ------
    CommandError
        Raised if the library is not installed.
    ImportError
        Raised if Keras or its backend cannot be imported.
    """
    library, extra = _LIBRARIES.get(classifier, ("numpy", ""))
    # Which only optimises with it.
    needed = classifier != "muygps" or (bool(list(config.optimize)) and not goes_on)
    if needed and not _is_there(library):
        raise CommandError(
            f"the classifier {classifier!r} needs {library}, which is not installed: "
            f"pip install 'lsst-meas-blendid[{extra}]'"
        )
    if not set(_NETWORKS).isdisjoint((classifier, *getattr(config, "members", ()))):
        from ..networks import import_keras

        # Whether there is a backend shows only when it is imported, which will be needed anyhow.
        import_keras()


def _is_there(library: str) -> bool:
    """Whether a library can be found."""
    try:
        return importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):
        return False


def check_members(classifier: BlendClassifier) -> None:
    """Refuse to train what is put together from trained models if one is missing.

    Parameters
    ----------
    classifier
        The classifier before its fit.

    Raises
    ------
    MisuseError
        Raised if a member has no model.
    """
    from ..classifiers.ensemble import EnsembleClassifier

    if not isinstance(classifier, EnsembleClassifier):
        return
    missing = [name for name in classifier.config.members if name not in classifier.members]
    if missing:
        raise MisuseError(
            f"the classifier {classifier.name!r} is put together from trained models, and has none of "
            f"{', '.join(map(repr, missing))}: name one of each, as in "
            "--config-option memberPackages=centers-i-1,features-i-1"
        )
