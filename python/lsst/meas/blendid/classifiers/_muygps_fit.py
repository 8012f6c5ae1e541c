# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Hyper-parameters of the local Gaussian process: the kernel's by MuyGPyS, the link's afterwards."""

from __future__ import annotations

__all__ = (
    "Link",
    "choose_rows",
    "drop_self",
    "fit_link",
    "import_muygpys",
    "optimize_kernel",
)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtr

from ._muygps_config import KernelSettings
from ._muygps_trend import LATENT_UNIT

_SCALES = np.exp(np.linspace(np.log(1e-3), np.log(1e3), 61))
"""Scales of the variance that are tried; the best is refined."""


_BOUNDS = {"length_scale": (0.03, 50.0), "noise": (1e-6, 300.0)}
"""Ends of the ranges that the optimisation searches."""


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
        """Evaluate the argument of the normal distribution.

        Parameters
        ----------
        latent, mean, variance : `numpy.ndarray`, shape (n,)
            Trend, and the posterior of the residual.

        Returns
        -------
        probit : `numpy.ndarray`, shape (n,)
            Number whose normal distribution function is P(blended).
        """
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
    """Choose the footprints that are kept, never one without weight.

    Parameters
    ----------
    blended : `numpy.ndarray`, shape (n,), bool
        Labels.
    weights : `numpy.ndarray`, shape (n,), or `None`
        Weights.
    rng
        Random numbers.
    n_train
        Number of footprints that are kept, at most.
    n_neighbors
        Number of neighbours, which have to be among them.

    Returns
    -------
    rows : `numpy.ndarray`, shape (m,), int64
        Rising rows.

    Raises
    ------
    ValueError
        Raised if there are too few, or those that are kept are all of one kind.
    """
    there = np.flatnonzero(np.ones(len(blended)) if weights is None else weights)
    rows: np.ndarray = np.sort(rng.permutation(there)[:n_train])
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


def drop_self(neighbors: np.ndarray, squared: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out each point itself from its neighbours.

    Parameters
    ----------
    neighbors : `numpy.ndarray`, shape (m, k + 1), int64
        Rows of the neighbours.
    squared : `numpy.ndarray`, shape (m, k + 1)
        Their squared distances.
    own : `numpy.ndarray`, shape (m,), int64
        Row of each point.

    Returns
    -------
    neighbors, squared : `numpy.ndarray`, shape (m, k)
        The others; without the farthest where the point is not among them, as may be with many at one place.
    """
    keep = neighbors != own[:, None]
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
    """Choose the link that minimises the cross-entropy of left-out predictions.

    Parameters
    ----------
    latent, mean, variance : `numpy.ndarray`, shape (n,)
        Trend, and the posterior of the residual.
    blended : `numpy.ndarray`, shape (n,), bool
        Labels.
    weights : `numpy.ndarray`, shape (n,)
        Weights that make the shares natural.
    plain
        Whether there is no trend.
    fit_offset
        Fit the offset too?
    start
        Link to begin with.
    penalty
        Precision of a Gaussian prior about the start.

    Returns
    -------
    link : `Link`
        The link.
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
    """Import MuyGPyS.

    Returns
    -------
    module
        ``MuyGPyS``.

    Raises
    ------
    ModuleNotFoundError
        Raised if it is not installed, with what to do.
    """
    import importlib
    import warnings

    try:
        with warnings.catch_warnings():
            # What it imports warns of its own old ways.
            warnings.simplefilter("ignore")
            for name in ("gp", "gp.kernels", "gp.deformation", "gp.hyperparameter", "gp.noise", "neighbors"):
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
    points : `numpy.ndarray`, shape (n, d)
        Training points.
    batch : `numpy.ndarray`, shape (b,), int64
        Rows of the points that are left out in turn.
    neighbors : `numpy.ndarray`, shape (b, k), int64
        Rows of their neighbours.
    labels, noise : `numpy.ndarray`, shape (n,)
        Working labels and their variances.
    latent : `numpy.ndarray`, shape (n,)
        Trend.
    blended : `numpy.ndarray`, shape (n,), bool
        Labels.
    plain
        Whether there is no trend.
    say
        Is told what was found.

    Returns
    -------
    settings : `KernelSettings`
        The best ones.

    Raises
    ------
    ModuleNotFoundError
        Raised if MuyGPyS is not installed.
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
