# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Calibration of probabilities, and the prior that they refer to.

A calibration is a monotone map of P(blended), fitted on footprints that the
classifier did not learn from, so that of those called blended with a probability
p the share p is blended.  A change of the prior takes probabilities from scenes
with one share of blended footprints to scenes with another.  Both change
P(blended); where there is P(N), `replace_blended` lets the rest follow.
"""

from __future__ import annotations

__all__ = (
    "CALIBRATION_METHODS",
    "Calibration",
    "calibration_from_dict",
    "fit_calibration",
    "move_prior",
    "replace_blended",
)

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CALIBRATION_METHODS = ("isotonic", "platt", "temperature", "beta")
"""Kinds of maps, see `Calibration`."""

_N_PARAMETERS = {"platt": 2, "temperature": 1, "beta": 3}

_EPS = 1e-7
"""Probabilities closer to 0 or 1 than this are taken as this close, for their logarithm."""

_BOUND = 50.0
"""Greatest slope and intercept: where the two kinds are separated the likelihood has no maximum."""


@dataclass(frozen=True)
class Calibration:
    r"""A monotone map of P(blended).

    Parameters
    ----------
    method
        One of `CALIBRATION_METHODS`.
    parameters
        ``platt``: :math:`a \ge 0` and b of :math:`\mathrm{logit}\,q = a\,\mathrm{logit}\,p + b`
        (Platt 1999, with the logit in place of the score of a support-vector machine);
        ``temperature``: T > 0 of :math:`\mathrm{logit}\,q = \mathrm{logit}\,p / T` (Guo et al. 2017);
        ``beta``: :math:`a, b \ge 0` and c of :math:`\mathrm{logit}\,q = a \ln p - b \ln(1 - p) + c`
        (Kull, Silva Filho & Flach 2017, AISTATS, PMLR 54, 623);
        ``isotonic``: the k knots p, then the k values of q there, both increasing; straight lines between
        them, and constant beyond (Zadrozny & Elkan 2002).
    blended_share
        Share of blended footprints that the calibrated probabilities refer to, if known.

    Raises
    ------
    ValueError
        Raised if there is no such method, or the parameters do not make a monotone map.
    """

    method: str
    parameters: tuple[float, ...]
    blended_share: float | None = None

    def __post_init__(self) -> None:
        values = self.parameters
        if self.method not in CALIBRATION_METHODS:
            raise ValueError(
                f"unknown calibration {self.method!r}; there are {', '.join(CALIBRATION_METHODS)}"
            )
        if not values or not all(math.isfinite(v) for v in values):
            raise ValueError(f"calibration {self.method!r} has parameters that are missing or not finite")
        if self.blended_share is not None and not 0.0 < self.blended_share < 1.0:
            raise ValueError(
                f"the calibration refers to a share of {self.blended_share}, not between 0 and 1"
            )
        if self.method == "isotonic":
            knots, levels = self._knots()
            if len(values) % 2 or np.any(np.diff(knots) <= 0.0) or np.any(np.diff(levels) < 0.0):
                raise ValueError("the knots of an isotonic calibration do not increase, or values lack")
            if knots[0] < 0.0 or knots[-1] > 1.0 or levels[0] <= 0.0 or levels[-1] >= 1.0:
                raise ValueError("the knots of an isotonic calibration are no probabilities")
        else:
            if len(values) != _N_PARAMETERS[self.method]:
                raise ValueError(
                    f"calibration {self.method!r} has {len(values)} parameters, "
                    f"not {_N_PARAMETERS[self.method]}"
                )
            slopes = values[:2] if self.method == "beta" else values[:1]
            if min(slopes) < 0.0 or (self.method == "temperature" and values[0] == 0.0):
                raise ValueError(f"calibration {self.method!r} has a slope that is not positive")

    def _knots(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and their calibrated values."""
        half = len(self.parameters) // 2
        return np.array(self.parameters[:half]), np.array(self.parameters[half:])

    def apply(self, p: np.ndarray) -> np.ndarray:
        """Calibrate probabilities.

        Parameters
        ----------
        p : `numpy.ndarray`
            P(blended), of any shape.

        Returns
        -------
        q : `numpy.ndarray`, float64
            Calibrated, of the same shape; NaN where ``p`` is.
        """
        p = np.asarray(p, dtype=np.float64)
        if self.method == "isotonic":
            return np.where(np.isfinite(p), np.interp(p, *self._knots()), np.nan)
        return _logistic(_terms(p, self.method) @ _to_coefficients(self.method, self.parameters))

    def to_dict(self) -> dict[str, Any]:
        """Describe the map with JSON-compatible values.

        Returns
        -------
        description
            What `calibration_from_dict` takes.
        """
        return {
            "method": self.method,
            "parameters": list(self.parameters),
            "blended_share": self.blended_share,
        }


def calibration_from_dict(description: dict[str, Any]) -> Calibration:
    """Make a calibration of its description.

    Parameters
    ----------
    description
        What `Calibration.to_dict` gave.

    Returns
    -------
    calibration
        The calibration.

    Raises
    ------
    ValueError
        Raised if the description is damaged.
    """
    try:
        if not isinstance(description, dict):
            raise TypeError("it is no dict")
        method, parameters = description["method"], description["parameters"]
        share = description.get("blended_share")
        if not isinstance(method, str) or not isinstance(parameters, list):
            raise TypeError("wrong types")
        if any(isinstance(v, bool | str) for v in [*parameters, share]):
            raise TypeError("not numbers")
        numbers = tuple(float(v) for v in parameters)
        share = None if share is None else float(share)
    except KeyError as err:
        raise ValueError(f"the description of a calibration lacks {err}") from None
    except (TypeError, ValueError, OverflowError, AttributeError) as err:
        raise ValueError(f"the description of a calibration is damaged ({err})") from None
    return Calibration(method, numbers, share)


def _logistic(x: np.ndarray) -> np.ndarray:
    # tanh, because the exponential overflows far from the middle.
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _terms(p: np.ndarray, method: str) -> np.ndarray:
    """Terms that the calibrated logit is linear in: shape p.shape + (1,), (2,) or (3,)."""
    p = np.clip(p, _EPS, 1.0 - _EPS)
    log_p, log_rest = np.log(p), np.log1p(-p)
    if method == "temperature":
        return (log_p - log_rest)[..., None]
    if method == "platt":
        return np.stack([log_p - log_rest, np.ones_like(p)], axis=-1)
    return np.stack([log_p, -log_rest, np.ones_like(p)], axis=-1)


def _to_coefficients(method: str, parameters: tuple[float, ...]) -> np.ndarray:
    """Factors of `_terms`."""
    return np.array([1.0 / parameters[0]] if method == "temperature" else parameters)


def fit_calibration(p: np.ndarray, blended: np.ndarray, method: str = "beta") -> Calibration:
    """Fit a calibration by maximum likelihood (isotonic: by least squares, which is the same there).

    Parameters
    ----------
    p : `numpy.ndarray`, shape (n,)
        P(blended) of footprints that the classifier did not learn from; NaN is left out.
    blended : `numpy.ndarray`, shape (n,), bool
        Truth.
    method
        One of `CALIBRATION_METHODS`.

    Returns
    -------
    calibration
        The map; its ``blended_share`` is the share of what it was fitted to.

    Raises
    ------
    ValueError
        Raised if there is no such method, lengths differ, a value is not a probability, or all
        footprints or none are blended.
    """
    if method not in CALIBRATION_METHODS:
        raise ValueError(f"unknown calibration {method!r}; there are {', '.join(CALIBRATION_METHODS)}")
    p, blended = np.asarray(p, dtype=np.float64), np.asarray(blended, dtype=bool)
    if p.ndim != 1 or p.shape != blended.shape:
        raise ValueError(
            f"a calibration needs one probability and truth per footprint, not {p.shape} and {blended.shape}"
        )
    use = np.isfinite(p)
    p, blended = p[use], blended[use]
    if np.any((p < 0.0) | (p > 1.0)):
        raise ValueError("a calibration was given probabilities outside of [0, 1]")
    if blended.all() or not blended.any():
        raise ValueError(
            f"{np.count_nonzero(blended)} of the {len(p)} footprints to calibrate with are blended; "
            "both kinds are needed"
        )
    parameters = _fit_isotonic(p, blended) if method == "isotonic" else _fit_logistic(p, blended, method)
    return Calibration(method, parameters, round(float(blended.mean()), 9))


def _fit_isotonic(p: np.ndarray, blended: np.ndarray) -> tuple[float, ...]:
    from sklearn.isotonic import IsotonicRegression

    # The first and the last step are often all of one kind, which says no more than how few there are: by the
    # rule of succession of n footprints.
    edge = 1.0 / (len(p) + 2.0)
    regression = IsotonicRegression(y_min=edge, y_max=1.0 - edge)
    regression.fit(p, blended.astype(np.float64))
    knots = np.asarray(regression.X_thresholds_, dtype=np.float64)
    levels = np.asarray(regression.y_thresholds_, dtype=np.float64)
    return tuple(map(float, np.concatenate([knots, levels])))


def _fit_logistic(p: np.ndarray, blended: np.ndarray, method: str) -> tuple[float, ...]:
    from scipy.optimize import minimize

    terms, sign = _terms(p, method), np.where(blended, 1.0, -1.0)

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (terms @ coefficients)
        gradient = -terms.T @ (sign * _logistic(-margin)) / len(p)
        return float(np.logaddexp(0.0, -margin).mean()), gradient

    start = {"temperature": [1.0], "platt": [1.0, 0.0], "beta": [1.0, 1.0, 0.0]}[method]
    n_slopes = 2 if method == "beta" else 1
    # A temperature cannot be infinite.
    low = 1.0 / _BOUND if method == "temperature" else 0.0
    bounds = [(low, _BOUND)] * n_slopes + [(-_BOUND, _BOUND)] * (len(start) - n_slopes)
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9}
    ).x
    return (1.0 / float(found[0]),) if method == "temperature" else tuple(map(float, found))


def replace_blended(prediction: np.ndarray, blended: np.ndarray) -> np.ndarray:
    """Give predictions another P(blended).

    Parameters
    ----------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        P(blended) or P(N).
    blended : `numpy.ndarray`, shape (n,)
        The new P(blended).

    Returns
    -------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        The new P(blended); or P(N) with that sum of columns 2 to 4.  The shares among the blended, and
        those among the others, stay; where they are not known, all is N = 2, or N = 1.  Rows are NaN
        where either was.
    """
    if prediction.ndim == 1:
        return np.where(np.isfinite(prediction), blended, np.nan)
    parts = []
    for columns, usual, total in ((slice(0, 2), 1, 1.0 - blended), (slice(2, None), 0, blended)):
        part = np.asarray(prediction[:, columns], dtype=np.float64)
        known = part.sum(axis=1, keepdims=True)
        spare = np.zeros(part.shape[1])
        spare[usual] = 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.where(known == 0.0, spare, part / known)
        parts.append(shares * np.asarray(total)[:, None])
    result = np.column_stack(parts)
    return np.where(np.isfinite(result).all(axis=1, keepdims=True), result, np.nan)


def move_prior(prediction: np.ndarray, trained: float, wanted: float) -> np.ndarray:
    r"""Take probabilities to scenes with another share of blended footprints.

    Parameters
    ----------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        P(blended) or P(N).
    trained
        Share of blended footprints that they refer to.
    wanted
        The other share.

    Returns
    -------
    prediction : `numpy.ndarray`, shape (n,) or (n, 5)
        The same for the other share; probabilities of 0 and 1 stay.

    Raises
    ------
    ValueError
        Raised if a share is not between 0 and 1.

    Notes
    -----
    By Bayes' theorem, if footprints of each kind look as they did,

    .. math:: q = \frac{p\,\pi'/\pi}{p\,\pi'/\pi + (1 - p)(1 - \pi')/(1 - \pi)}

    (Saerens, Latinne & Decaestecker 2002, Neural Computation 14, 21, eq. 2.4).  Of P(N), the shares
    among the blended and among the others stay (`replace_blended`).
    """
    for name, share in (("that probabilities refer to", trained), ("to move them to", wanted)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"the share of blended footprints {name} is {share}, not between 0 and 1")
    prediction = np.asarray(prediction, dtype=np.float64)
    old = prediction if prediction.ndim == 1 else prediction[:, 2:].sum(axis=1)
    rest = 1.0 - old if prediction.ndim == 1 else prediction[:, :2].sum(axis=1)
    up, down = old * (wanted / trained), rest * ((1.0 - wanted) / (1.0 - trained))
    return replace_blended(prediction, up / (up + down))
