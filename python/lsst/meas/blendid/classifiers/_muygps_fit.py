# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

r"""What the Gaussian process learns: mean, labels about it, kernel, and link to probabilities.

The mean, or trend, is a latent number :math:`f_0` whose :math:`\Phi(f_0)` is a first guess of P(blended):
nothing, or a regression on the inputs (as in universal kriging).
"""

from __future__ import annotations

__all__ = (
    "FOLDS",
    "LATENT_UNIT",
    "KernelSettings",
    "Link",
    "Trend",
    "choose_rows",
    "drop_self",
    "fit_link",
    "fit_trend",
    "import_muygpys",
    "optimize_kernel",
    "working_labels",
)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_ndtr, ndtr, ndtri

from .._arrays import check_array
from ..model_settings import ModelSettings, setting

LATENT_UNIT = float(np.sqrt(np.pi / 2.0))
"""Unit of the residuals: with a trend of 0 the working labels are then +1 and -1."""

_MOST = 3.5
"""Largest latent number of a trend, a probability of 2e-4."""
_PENALTY = 10.0
"""L2 penalty of the regressions, on inputs of about unit scatter."""
_MOST_ROWS = 150_000
"""Rows that a trend is fitted to, at most."""
_CHUNK = 16_384
"""Rows of the design matrix that are in memory at a time."""
FOLDS = 3
"""Parts of the footprints that are left out of a trend in turn."""


@dataclass(frozen=True)
class Trend:
    """A trend.

    Parameters
    ----------
    kind
        "none" for zero, or "quadratic" for a regression on the inputs and products of coordinates.
    values : `numpy.ndarray`, float64
        Coefficients with the constant last, shape (m,); empty for none.
    n_products
        Number of coordinates of a quadratic trend.
    """

    kind: str
    values: np.ndarray
    n_products: int = 0

    @classmethod
    def fit(
        cls,
        kind: str,
        inputs: np.ndarray,
        coordinates: np.ndarray,
        blended: np.ndarray,
        weights: np.ndarray | None,
        *,
        n_products: int,
        rng: np.random.Generator,
        start: Trend | None = None,
    ) -> Trend:
        """Fit a trend to inputs (n, m), coordinates (n, d), labels and weights (n,).

        Of very many footprints ``rng`` chooses those that are used; ``start``, a trend of the same kind that
        is near, saves steps.
        """
        if len(blended) > _MOST_ROWS:
            rows = np.sort(rng.choice(len(blended), _MOST_ROWS, replace=False))
            inputs, coordinates = inputs[rows], coordinates[rows]
            blended, weights = blended[rows], None if weights is None else weights[rows]
        weights = np.ones(len(blended)) if weights is None else weights / weights.mean()
        if kind == "none":
            return cls(kind, np.zeros(0))
        n_products = min(n_products, coordinates.shape[1])
        beta = None if start is None else start.values
        if beta is None and len(blended) > 4 * _CHUNK:
            # The first steps need no more than some of the rows.
            some = np.sort(rng.choice(len(blended), _CHUNK, replace=False))
            beta = _regress(inputs[some], coordinates[some], n_products, blended[some], weights[some], None)
        return cls(kind, _regress(inputs, coordinates, n_products, blended, weights, beta), n_products)

    def latent(self, inputs: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        r"""Evaluate the latent number :math:`f_0` for inputs (n, m) and coordinates (n, d): float64 (n,).

        It is at most 3.5 either way.
        """
        if self.kind == "none":
            return np.zeros(len(inputs))
        out = np.empty(len(inputs))
        for first in range(0, len(inputs), _CHUNK):
            part = slice(first, first + _CHUNK)
            out[part] = _design(inputs[part], coordinates[part], self.n_products) @ self.values
        # From the logit, whose tails fit better, to the probit.
        return np.clip(ndtri(np.clip(expit(out), 1e-6, 1.0 - 1e-6)), -_MOST, _MOST)

    def check(self, n_inputs: int, n_coordinates: int) -> None:
        """Refuse values of another shape than the settings ask for, or not finite, by `ValueError`."""
        q = self.n_products
        terms = 0 if self.kind == "none" else n_inputs + q * (q + 1) // 2 + 1
        check_array("the trend", self.values, (terms,))
        if q > n_coordinates:
            raise ValueError(f"the trend has products of {q} coordinates; there are {n_coordinates}")


def fit_trend(
    kind: str,
    inputs: np.ndarray,
    coordinates: np.ndarray,
    blended: np.ndarray,
    weights: np.ndarray | None,
    groups: np.ndarray,
    rows: np.ndarray,
    *,
    n_products: int,
    rng: np.random.Generator,
) -> tuple[Trend, np.ndarray]:
    """Fit a trend, and evaluate it where it was not fitted: at ``rows``, float64 of shape (m,).

    Residuals of footprints that a trend has seen are too small, the more the fewer there are.  Footprints of
    one of ``groups``, int of shape (n,), are seen together or not at all, if there are several groups; the
    values are those of trends of two thirds that the footprint is not in.
    """

    def fit(chosen: np.ndarray, start: Trend | None = None) -> Trend:
        return Trend.fit(
            kind,
            inputs[chosen],
            coordinates[chosen],
            blended[chosen],
            None if weights is None else weights[chosen],
            n_products=n_products,
            rng=rng,
            start=start,
        )

    everything = np.arange(len(blended))
    trend = fit(everything)
    if kind == "none":
        return trend, np.zeros(len(rows))
    present, group = np.unique(groups, return_inverse=True)
    if len(present) < FOLDS:
        present = group = everything
    fold = (rng.permutation(len(present)) % FOLDS)[group]
    latent = np.empty(len(rows))
    for k in range(FOLDS):
        out = fold[rows] == k
        part = fit(everything[fold != k], trend)
        latent[out] = part.latent(inputs[rows[out]], coordinates[rows[out]])
    return trend, latent


def working_labels(latent: np.ndarray, blended: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Linearise labels about a trend.

    Parameters
    ----------
    latent : `numpy.ndarray`, shape (n,)
        The trend :math:`f_0`.
    blended : `numpy.ndarray`, shape (n,), bool
        Labels.

    Returns
    -------
    labels : `numpy.ndarray`, shape (n,)
        :math:`(y - \Phi(f_0)) / \phi(f_0)`, the step of Fisher scoring of a probit model about the trend
        (McCullagh & Nelder 1989, Generalized Linear Models, sect. 2.5), in units of `LATENT_UNIT`: with a
        trend of 0 this is +1 and -1.
    noise : `numpy.ndarray`, shape (n,)
        Their variance, :math:`\Phi (1 - \Phi) / \phi^2`, in squares of that unit: 1 with a trend of 0.
    """
    p = ndtr(latent)
    density = np.exp(-0.5 * np.square(latent)) / np.sqrt(2.0 * np.pi)
    labels = (blended - p) / (density * LATENT_UNIT)
    return labels, p * (1.0 - p) / np.square(density * LATENT_UNIT)


def _design(inputs: np.ndarray, coordinates: np.ndarray, n_products: int) -> np.ndarray:
    """Inputs, products of coordinates, and 1: float64 of shape (n, terms)."""
    first, second = np.triu_indices(n_products)
    return np.column_stack(
        [inputs, coordinates[:, first] * coordinates[:, second], np.ones(len(inputs))]
    ).astype(np.float64)


def _regress(
    inputs: np.ndarray,
    coordinates: np.ndarray,
    n_products: int,
    blended: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray | None,
) -> np.ndarray:
    """Coefficients of a logistic regression with an L2 penalty, by Newton steps."""
    from threadpoolctl import threadpool_limits

    size = inputs.shape[1] + n_products * (n_products + 1) // 2 + 1
    penalty = np.full(size, _PENALTY)
    penalty[-1] = 0.0
    beta = np.zeros(size) if start is None else start.copy()
    with threadpool_limits(limits=1):
        for _ in range(25):
            gradient, hessian = -penalty * beta, np.diag(penalty + 1e-9)
            for first in range(0, len(inputs), _CHUNK):
                part = slice(first, first + _CHUNK)
                design = _design(inputs[part], coordinates[part], n_products)
                p = expit(design @ beta)
                gradient += design.T @ (weights[part] * (blended[part] - p))
                hessian += (design * (weights[part] * p * (1.0 - p))[:, None]).T @ design
            step = np.linalg.solve(hessian, gradient)
            # Far steps, as with classes that can be separated, are shortened.
            step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))
            beta += step
            if np.abs(step).max() < 1e-4:
                break
    return beta


_SCALES = np.exp(np.linspace(np.log(1e-3), np.log(1e3), 61))
"""Scales of the variance that are tried; the best is refined."""


_BOUNDS = {"length_scale": (0.03, 50.0), "noise": (1e-6, 300.0)}
"""Ends of the ranges that the optimisation searches."""


@dataclass(frozen=True, kw_only=True)
class KernelSettings(ModelSettings):
    """Hyper-parameters of the kernel."""

    smoothness: float = setting(1.5, "Smoothness of the Matern kernel.", at_least=0.5, at_most=30.0)
    length_scale: float = setting(
        4.0, "Length scale, in units of the scatter of the first coordinate.", more_than=0.0
    )
    noise: float = setting(30.0, "Variance of the noise of a label in units of the kernel's.", at_least=1e-10)


@dataclass(frozen=True)
class Link:
    r"""From a posterior to a probability.

    Parameters
    ----------
    sigma
        Scale of the posterior's standard deviation.
    slope, offset
        Further parameters of the link of a process with a trend.
    plain
        Whether there is no trend: then P is :math:`\Phi(o + \mu / (\sigma s))`, with :math:`\mu` and
        :math:`s` the posterior's mean and standard deviation; else
        :math:`\Phi(o + b (f_0 + u \mu) / \sqrt{1 + (\sigma s)^2})`, the mean of :math:`\Phi` over a
        Gaussian (Rasmussen & Williams 2006, eq. 3.82).
    """

    sigma: float
    slope: float
    offset: float
    plain: bool

    def probit(self, latent: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Argument of the normal distribution, from trend, posterior mean and variance, each (n,)."""
        variance = np.maximum(variance, 1e-12)
        if self.plain:
            return self.offset + mean / (self.sigma * np.sqrt(variance))
        spread = np.sqrt(1.0 + self.sigma**2 * variance)
        return self.offset + self.slope * (latent + LATENT_UNIT * mean) / spread

    def __call__(self, latent: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        """Evaluate P(blended), as `probit`."""
        return ndtr(self.probit(latent, mean, variance))


def choose_rows(
    blended: np.ndarray,
    weights: np.ndarray | None,
    rng: np.random.Generator,
    *,
    n_train: int,
    n_neighbors: int,
) -> np.ndarray:
    """Choose the footprints that are kept, never one without weight: rising rows, int64 of shape (m,).

    They are refused by `ValueError` if they are too few for as many neighbours, or all of one kind.
    """
    weighted = np.flatnonzero(np.ones(len(blended)) if weights is None else weights)
    rows: np.ndarray = np.sort(rng.permutation(weighted)[:n_train])
    if len(rows) <= n_neighbors:
        raise ValueError(
            f"{len(rows)} footprints are too few for {n_neighbors} neighbours: "
            "use more scenes, or lower n_neighbors"
        )
    if blended[rows].all() or not blended[rows].any():
        raise ValueError(
            f"the {len(rows)} footprints that are kept are all of one kind: use more scenes or other weights"
        )
    return rows


def drop_self(
    neighbors: np.ndarray, squared: np.ndarray, selves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Leave out each point itself from its neighbours (m, k + 1), and from their squared distances.

    Without the farthest where the point is not among them, as may be with many at one place.
    """
    keep = neighbors != selves[:, None]
    whole = keep.all(axis=1)
    keep[whole, squared[whole].argmax(axis=1)] = False
    shape = (len(neighbors), neighbors.shape[1] - 1)
    return neighbors[keep].reshape(shape), squared[keep].reshape(shape)


def fit_link(
    latent: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    blended: np.ndarray,
    weights: np.ndarray,
    *,
    plain: bool,
    fit_offset: bool,
    start: Link | None = None,
    penalty: float = 0.0,
) -> Link:
    """Choose the link that minimises the cross-entropy of left-out predictions, arrays of shape (n,).

    The weights make the shares natural.  With a ``start`` the link stays near: ``penalty`` is the precision
    of a Gaussian prior about it.
    """
    from scipy.optimize import minimize

    sign = np.where(blended, 1.0, -1.0)
    weights = weights / weights.mean()
    first = np.array([0.0, 0.0, 0.0])
    if start is not None:
        first = np.array([np.log(start.sigma), np.log(start.slope), start.offset])

    def link(free: np.ndarray) -> Link:
        values = first.copy()
        values[chosen] = free
        values[:2] = np.clip(values[:2], -9.0, 9.0)
        return Link(float(np.exp(values[0])), float(np.exp(values[1])), float(values[2]), plain)

    def loss(free: np.ndarray) -> float:
        logs = log_ndtr(sign * link(free).probit(latent, mean, variance))
        return float(-weights @ logs + 0.5 * penalty * np.sum((free - first[chosen]) ** 2)) / len(sign)

    chosen = [0] if plain else [0, 1]
    if start is None:
        # The scale can be far off, so that it is looked for on a grid first.
        scan = [loss(np.array([s] if plain else [s, 0.0])) for s in np.log(_SCALES)]
        first[0] = np.log(_SCALES[int(np.argmin(scan))])
    if fit_offset:
        chosen = [*chosen, 2]
    options = {"xatol": 1e-4, "fatol": 1e-9, "maxiter": 2000, "initial_simplex": None}
    return link(minimize(loss, first[chosen], method="Nelder-Mead", options=options).x)


def import_muygpys() -> Any:
    """Import MuyGPyS; `ModuleNotFoundError` says what to do if it is not installed."""
    import importlib
    import warnings

    try:
        with warnings.catch_warnings():
            # What it imports warns of its own old ways.
            warnings.simplefilter("ignore")
            for name in ("gp", "gp.kernels", "gp.deformation", "gp.hyperparameter", "gp.noise"):
                importlib.import_module(f"MuyGPyS.{name}")
            importlib.import_module("MuyGPyS.optimize")
            importlib.import_module("MuyGPyS.optimize.loss")
            return importlib.import_module("MuyGPyS")
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            "MuyGPyS is not installed, which optimises the hyper-parameters of classifier 'muygps': "
            "pip install 'lsst-meas-blendid[muygps]', or set optimize_kernel=false",
            name=err.name,
        ) from None


def optimize_kernel(
    start: KernelSettings,
    points: np.ndarray,
    batch: np.ndarray,
    neighbors: np.ndarray,
    labels: np.ndarray,
    noise: np.ndarray,
    latent: np.ndarray,
    blended: np.ndarray,
    *,
    plain: bool,
    say: Callable[[str], None],
) -> KernelSettings:
    """Optimise the kernel with MuyGPyS on left-out predictions of a batch of training points.

    Parameters
    ----------
    start
        Where to begin; the smoothness stays so.
    points, labels, noise, latent, blended
        Training points (n, d), their working labels with variances, the trend, and the true labels.
    batch, neighbors
        Rows of the points that are left out in turn, int64 (b,), and of their neighbours (b, k).
    plain
        Whether there is no trend.
    say
        Is told what was found.
    """
    muygpys = import_muygpys()
    gp, optimize = muygpys.gp, muygpys.optimize
    parameter = gp.hyperparameter.Parameter

    def make(name: str, value: float) -> Any:
        return float(np.clip(value, *_BOUNDS[name])), _BOUNDS[name]

    scale = noise[neighbors]
    diagonal = np.arange(neighbors.shape[1])

    def perturb(covariance: np.ndarray, variance: float) -> np.ndarray:
        # Working labels have noise in known ratios; its common scale is what is optimised.
        perturbed = np.array(covariance)
        perturbed[:, diagonal, diagonal] += variance * scale
        return perturbed

    model = gp.MuyGPS(
        kernel=gp.kernels.Matern(
            smoothness=parameter(start.smoothness, "fixed"),
            deformation=gp.deformation.Isotropy(
                gp.deformation.l2, length_scale=parameter(*make("length_scale", start.length_scale))
            ),
        ),
        noise=gp.noise.HomoscedasticNoise(*make("noise", start.noise), _backend_fn=perturb),
    )
    sign = np.where(blended[batch], 1.0, -1.0)
    squares = np.square(np.log(_SCALES[1:] / _SCALES[:-1])[0])

    def cross_entropy(
        mean: np.ndarray, _targets: np.ndarray, variance: np.ndarray, _scale: float, **_kwargs: Any
    ) -> float:
        losses = []
        for sigma in _SCALES[::3]:
            link = Link(float(sigma), 1.0, 0.0, plain)
            losses.append(-log_ndtr(sign * link.probit(latent[batch], mean, variance)).sum())
        # A parabola through the best and its neighbours, so that the loss is smooth.
        i = int(np.clip(np.argmin(losses), 1, len(losses) - 2))
        a, b, c = losses[i - 1 : i + 2]
        curvature = a - 2.0 * b + c
        return float(b - (a - c) ** 2 / (8.0 * curvature)) if curvature > squares * 1e-9 else float(b)

    crosswise, pairwise, targets, near_targets = model.make_train_tensors(
        batch, neighbors, points.astype(np.float64), labels
    )
    best = optimize.L_BFGS_B_optimize(
        model,
        targets,
        near_targets,
        crosswise,
        pairwise,
        # Of the probability, with the best scale of the variance.
        loss_fn=optimize.loss.LossFn(cross_entropy, optimize.loss.make_var_predict_and_loss_fn),
        verbose=False,
        options={"maxiter": 25, "eps": 1e-3, "ftol": 1e-6},
    )
    settings = KernelSettings(
        smoothness=start.smoothness,
        length_scale=float(best.kernel.deformation.length_scale()),
        noise=float(best.noise()),
    )
    say(f"MuyGPyS: length scale {settings.length_scale:.4g}, noise {settings.noise:.3g}")
    return settings
