# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Random numbers that are functions of a key: of their purpose, and of what or where they are drawn for.

Whatever else is drawn, and in which order or process, each thing gets the same numbers.
"""

from __future__ import annotations

__all__ = (
    "GAMMA",
    "add_poisson_noise",
    "check_seed",
    "noise_key",
    "random_stream",
    "scramble",
)

import math
import zlib

import numpy as np

from .._jit import njit
from .errors import SimulationError

GAMMA = np.uint64(0x9E3779B97F4A7C15)
"""Step of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA '14, fig. 16) between two of its numbers."""

# First key of the noise of pixels.
_STREAM = 3
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_UNIT = 1.0 / (1 << 53)


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of one purpose, independent of those of every other key.

    The key are numbers of the purpose, and of what it is drawn for: a cell, say, or a stamp; not negative.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def check_seed(seed: int) -> None:
    """Refuse a negative seed with a `SimulationError`."""
    if seed < 0:
        raise SimulationError(f"a seed must not be negative, not {seed}")


def noise_key(seed: int, band: str) -> np.uint64:
    """Key of the noise of a band: 64 random bits."""
    # crc32 and not hash(), which differs from one run of Python to the next.
    sequence = np.random.SeedSequence(seed, spawn_key=(_STREAM, zlib.crc32(band.encode())))
    return np.uint64(sequence.generate_state(1, np.uint64)[0])


@njit(inline="always")
def scramble[Bits: (np.uint64, np.ndarray)](state: Bits) -> Bits:
    """Output function of SplitMix64, of a number of 64 bits or an array of them."""
    state = (state ^ (state >> _S30)) * _MIX_1
    state = (state ^ (state >> _S27)) * _MIX_2
    return state ^ (state >> _S31)


@njit(inline="always")
def _uniform(state: np.uint64) -> float:
    """Number between 0 and 1, both excluded."""
    # 53 bits fill a double; the half keeps 0, whose logarithm is asked for, out.
    return (np.float64(scramble(state) >> _S11) + 0.5) * _UNIT


@njit(error_model="numpy")
def add_poisson_noise(expected: np.ndarray, key: np.uint64, x0: int, y0: int) -> None:
    """Replace expected numbers, float64 (h, w), by Poisson numbers; x0, y0 is the place of the first.

    Each pixel has a random stream of its own, made of the key and its place on the sky.

    From a mean of 1000 on a normal number is mapped to the Poisson number of the same
    probability by an asymptotic expansion (Giles 2016, ACM Transactions on Mathematical Software 42,
    10, Q_N2), so that a small change of the mean is a small change of the number.
    Below, by transformed rejection (Hörmann 1993, Insurance: Mathematics and Economics 12,
    39, algorithm PTRS), and below 10 by the product of uniform numbers (Knuth 1997, section
    3.4.1).
    """
    for i in range(expected.shape[0]):
        # Rows and columns go through the scrambler apart, or diagonals would share streams.
        row = scramble(key ^ scramble(np.uint64(y0 + i) * GAMMA + GAMMA))
        for j in range(expected.shape[1]):
            state = scramble(row ^ scramble(np.uint64(x0 + j) * GAMMA + _MIX_1))
            mean = expected[i, j]
            # Takes as many uniform numbers as the result; the rejection below is not valid for small means.
            if mean < 10.0:
                limit, product, number = math.exp(-mean), 1.0, -1
                while product > limit or number < 0:
                    state += GAMMA
                    product *= _uniform(state)
                    number += 1
                expected[i, j] = number
                continue
            root = math.sqrt(mean)
            if mean >= 1000.0:
                # Box & Muller (1958), of which one of the two numbers is used: a stream is never shared with
                # the next pixel.
                radius = math.sqrt(-2.0 * math.log(_uniform(state + GAMMA)))
                w = radius * math.cos(2.0 * math.pi * _uniform(state + GAMMA + GAMMA))
                # Giles's second-order term; what it leaves is of the order of the mean to the power of -1.
                skew = 1.0 / 3.0 + w * w / 6.0 - (w / 36.0 + w * w * w / 72.0) / root
                expected[i, j] = math.floor(mean + root * w + skew)
                continue
            b = 0.931 + 2.53 * root
            a = -0.059 + 0.02483 * b
            ceiling = 0.9277 - 3.6224 / (b - 2.0)
            while True:
                state += GAMMA
                u = _uniform(state) - 0.5
                state += GAMMA
                v = _uniform(state)
                near = 0.5 - abs(u)
                k = math.floor((2.0 * a / near + b) * u + mean + 0.43)
                # Accepted without a logarithm, most of the time.
                if near >= 0.07 and v <= ceiling:
                    break
                if k < 0.0 or (near < 0.013 and v > near):
                    continue
                inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
                density = k * math.log(mean) - mean - math.lgamma(k + 1.0)
                if math.log(v * inverse_alpha / (a / (near * near) + b)) <= density:
                    break
            expected[i, j] = k
