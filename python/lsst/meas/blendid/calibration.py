# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Calibration of probabilities, and their prior."""

from __future__ import annotations

__all__ = ("Calibration", "calibration_from_dict", "fit_calibration", "move_prior", "replace_blended")

from dataclasses import dataclass
from typing import Any

import numpy as np

_EPS = 1e-6


@dataclass(frozen=True)
class Calibration:
    method: str
    parameters: tuple[float, ...]

    def apply(self, p: np.ndarray) -> np.ndarray:
        a, b = self.parameters
        p = np.clip(p, _EPS, 1 - _EPS)
        return 1.0 / (1.0 + np.exp(-(a * np.log(p / (1 - p)) + b)))

    def to_dict(self) -> dict[str, Any]:
        return {"method": self.method, "parameters": list(self.parameters)}


def calibration_from_dict(description: dict[str, Any]) -> Calibration:
    return Calibration(description["method"], tuple(description["parameters"]))


def fit_calibration(
    p: np.ndarray, blended: np.ndarray, method: str = "platt", *, weights: np.ndarray | None = None
) -> Calibration:
    raise NotImplementedError


def replace_blended(prediction: np.ndarray, blended: np.ndarray) -> np.ndarray:
    if prediction.ndim == 1:
        return blended
    old = prediction[:, 2:].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.where(old > 0, blended / old, 0.0)
        down = np.where(old < 1, (1 - blended) / (1 - old), 0.0)
    return np.column_stack([prediction[:, :2] * down[:, None], prediction[:, 2:] * up[:, None]])


def move_prior(prediction: np.ndarray, trained: float, wanted: float) -> np.ndarray:
    old = prediction if prediction.ndim == 1 else prediction[:, 2:].sum(axis=1)
    odds = old / (1 - old) * (wanted / trained) * ((1 - trained) / (1 - wanted))
    return replace_blended(prediction, odds / (1 + odds))
