# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""SExtractor with hot and cold settings on pairs of galaxies, beside the rates of COIN.

All galaxies of the catalogue within the limit are used, as nothing is trained, and pairs are shifted
as the published ones are (``--shift text`` is the rule of the paper's text, the default of the set).

    python benchmarks/coin.py --cosmos ../shared/data/cosmos_real \
        --published ../shared/data/coindeblend/output_catalog.csv > doc/lsst.meas.blendid/measured/coin.txt
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from hot_cold import hot_cold_report
from lsst.meas.blendid.simulation.stamps import CoinSettings, make_coin


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cosmos", type=Path, required=True, help="catalogue of real galaxies")
    parser.add_argument("--published", type=Path, help="output_catalog.csv of coindeblend")
    parser.add_argument("-n", type=int, default=6000, help="number of pairs")
    parser.add_argument("--mag-limit", type=float, default=CoinSettings.mag_limit)
    parser.add_argument("--binning", type=int, default=CoinSettings.binning)
    parser.add_argument("--noise-factor", type=float, default=CoinSettings.noise_factor)
    parser.add_argument("--shift", choices=("released", "text"), default="released")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    settings = CoinSettings(
        mag_limit=args.mag_limit,
        binning=args.binning,
        noise_factor=args.noise_factor,
        shift=args.shift,
        split_shares={"test": 1.0},
    )
    start = time.process_time()
    pairs = make_coin(args.cosmos, {"test": args.n}, settings=settings, seed=args.seed)
    seconds = time.process_time() - start
    alone = make_coin(
        args.cosmos,
        {"test": args.n // 6},
        settings=dataclasses.replace(settings, isolated_share=1.0),
        seed=args.seed,
    )
    galaxies = pairs.metadata["n_galaxies"]["test"]
    print(f"{args.n} pairs of {galaxies} galaxies in {seconds:.1f} s of one core\n")
    for strategy in ("cold-else-hot", "cold-plus-hot"):
        start = time.process_time()
        report = hot_cold_report(pairs, alone=alone, published=args.published, strategy=strategy)
        milliseconds = 1000 * (time.process_time() - start) / (len(pairs) + len(alone))
        print(f"{report}\n({milliseconds:.2f} ms per stamp)" + ("\n" if strategy == "cold-else-hot" else ""))


if __name__ == "__main__":
    main()
