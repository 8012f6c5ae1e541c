# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""Baselines on the stamps of BlendHunter, beside the published figures.

Shares of stamps with the right label (Farrens et al. 2022, A&A 657, A98), of SEP with the paper's
settings and rules and of ``logistic``, which is trained on parametric stamps of the same noise, a
stamp as one footprint. ``blended``, ``close`` (less than 10 pixels) and ``distant`` are shares of the
blended stamps alone; 12 % of them are close. ``s/1000`` are CPU seconds in this process for 1,000
stamps, with ``--processes 1``.  ``benchmarks/coin.py`` does the same for the stamps of COIN.

    python benchmarks/stamps.py --cosmos ../shared/data/cosmos_real \
        --rst doc/lsst.meas.blendid/measured/stamps.rst
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from blendhunter_sep import PUBLISHED_SEP, SepBaseline, SepScores, score_sep, sep_baseline
from lsst.meas.blendid.classifiers import (
    BlendClassifier,
    LogisticClassifier,
    LogisticSettings,
    split_probabilities,
)
from lsst.meas.blendid.cutouts import CutoutSettings
from lsst.meas.blendid.simulation.stamps import (
    BlendHunterSettings,
    StampSet,
    make_blendhunter,
    make_blendhunter_real,
)
from lsst.meas.blendid.training.stamps import label_stamps

REAL_NOISE = BlendHunterSettings.real_noise
LINES: list[str] = []
"""What was printed."""


def say(text: str) -> None:
    """Print and keep lines."""
    print(text, flush=True)
    LINES.extend(text.splitlines())


def row(name: str, noise: float, scores: SepScores) -> str:
    """Format a line of the table of BlendHunter."""
    values = (
        scores.everything,
        scores.isolated,
        scores.blended,
        scores.close,
        scores.distant,
        scores.missed,
    )
    return f"{name:<26}{noise:>6g}" + "".join(f"{100 * value:>10.1f}" for value in values)


def train(stamp_set: StampSet, noise: float) -> BlendClassifier:
    """Train ``logistic`` on whole stamps with some noise."""
    settings = LogisticSettings(cutout=CutoutSettings(size=stamp_set.size))
    model = LogisticClassifier(settings=settings)
    model.fit(label_stamps(stamp_set.with_noise(noise)))
    return model


def score_model(model: BlendClassifier, stamp_set: StampSet) -> SepScores:
    """Score a classifier on stamps as SEP is scored."""
    p, _ = split_probabilities(model.predict(label_stamps(stamp_set).samples))
    label = (p > 0.5).astype(np.int8)
    return score_sep(stamp_set, SepBaseline(label, np.ones(len(label), dtype=np.int32)))


def timed(name: str, make: Callable[[], StampSet]) -> StampSet:
    """Make a set and tell what it costs."""
    start = time.process_time()
    stamp_set = make()
    seconds = 1000 * (time.process_time() - start) / len(stamp_set)
    megabytes = 1000 * stamp_set.images[0].nbytes / 1e6
    say(f"{name:<26}{len(stamp_set):>8} stamps {seconds:>8.1f} s/1000 {megabytes:>8.1f} MB/1000")
    return stamp_set


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cosmos", type=Path, help="catalogue of real galaxies; without it models alone")
    parser.add_argument("--train", type=int, default=2000, help="parametric stamps to train on")
    parser.add_argument("--test", type=int, default=2000, help="stamps of each set to test on")
    parser.add_argument("--noise", type=float, nargs="*", default=BlendHunterSettings.noise_levels)
    parser.add_argument("--rst", type=Path, help="file to write what is printed to, for the docs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--processes", type=int, default=1)
    args = parser.parse_args()

    parametric = timed(
        "blendhunter",
        lambda: make_blendhunter(
            {"train": args.train, "test": args.test},
            seed=args.seed,
            processes=args.processes,
        ),
    )
    real = None
    if args.cosmos is not None:
        real = timed(
            "blendhunter-real",
            lambda: make_blendhunter_real(
                args.cosmos, {"test": args.test}, seed=args.seed, processes=args.processes
            ),
        )
    names = ("all", "isolated", "blended", "close", "distant", "missed")
    say(f"\n{'right labels, %':<26}{'noise':>6}" + "".join(f"{name:>10}" for name in names))
    learn, test = parametric.split("train"), parametric.split("test")
    for noise in args.noise:
        padded = test.padded().with_noise(noise)
        say(row("parametric: SEP", noise, score_sep(padded, sep_baseline(padded))))
        say(row("parametric: logistic", noise, score_model(train(learn, noise), test.with_noise(noise))))
    if real is not None:
        padded = real.padded().with_noise(REAL_NOISE)
        say(row("realistic: SEP", REAL_NOISE, score_sep(padded, sep_baseline(padded))))
        model = train(learn, REAL_NOISE)
        say(row("realistic: logistic", REAL_NOISE, score_model(model, real.with_noise(REAL_NOISE))))
        published = [f"{100 * PUBLISHED_SEP[name]:.0f}" for name in ("blended", "close", "distant")]
        say(f"{'published: SEP':<52}" + "".join(f"{value:>10}" for value in published))
    if args.rst is not None:
        text = [f"   {line}".rstrip() for line in LINES]
        args.rst.write_text(
            "\n".join([".. Measured by benchmarks/stamps.py.", "", ".. code-block:: text", "", *text]) + "\n"
        )


if __name__ == "__main__":
    main()
