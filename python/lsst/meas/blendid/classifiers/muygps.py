# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Local Gaussian processes: PCA of cutouts, features, and a Matern process on the nearest neighbours.

The classifier of Buchanan et al. 2022 with MuyGPyS (Muyskens et al. 2021): a Gaussian process on labels of
+1 and -1, conditioned on the nearest training footprints only, whose mean and variance give P(blended).
MuyGPyS optimises the hyper-parameters; its posterior is computed here by code of our own that is equal to
it, so that predictions need no MuyGPyS.
"""

from __future__ import annotations

__all__ = (
    "MuyGpsClassifier",
    "MuyGpsConfig",
    "MuyGpsSettings",
)

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lsst.pex.config import registerConfigurable

from .._arrays import check_array
from ..cutouts import CutoutSettings
from ..features import (
    CONTEXT_FEATURES,
    FEATURE_DOCS,
    FEATURE_NAMES,
    FEATURES_VERSION,
    TWO_COMPONENT_COLUMNS,
    measure_features,
)
from ..model_settings import ModelSettings, SettingsError, setting
from ..samples import FootprintSamples
from ._muygps_fit import (
    FOLDS,
    KernelSettings,
    Link,
    Trend,
    choose_rows,
    drop_self,
    fit_link,
    fit_trend,
    import_muygpys,
    optimize_kernel,
    working_labels,
)
from ._muygps_inputs import InputMap
from ._muygps_neighbors import NeighborIndex
from ._muygps_posterior import MaternTable, find_posterior
from .base import BlendClassifier, BlendClassifierConfig, classifier_registry
from .fitting import FitOptions, LabelledSamples
from .novelty import novelty_columns


class MuyGpsConfig(BlendClassifierConfig):
    """Config of `.muygps.MuyGpsClassifier`."""

    def setDefaults(self) -> None:
        super().setDefaults()
        self.modelPackage = "muygps-i-1"


@dataclass(frozen=True, kw_only=True)
class MuyGpsSettings(ModelSettings):
    """Settings of `.muygps.MuyGpsClassifier`."""

    old_names: ClassVar[Mapping[str, str | None]] = {
        "smoothness": "kernel.smoothness",
        "lengthScale": "kernel.length_scale",
        "noise": "kernel.noise",
        "doRanks": "use_ranks",
        "doBalance": None,
        "nnMethod": None,
        "loss": None,
        "optimizer": None,
        "optimize": None,
        "smoothnessBounds": None,
        "lengthScaleBounds": None,
        "noiseBounds": None,
    }

    cutout: CutoutSettings = setting(CutoutSettings(), "How cutouts are made.")
    n_components: int = setting(8, "Number of principal components of the cutouts.", at_least=1)
    features: tuple[str, ...] = setting(
        # Not the fits of two components, which take most of the time, nor what needs a zero point.
        tuple(name for name in FEATURE_NAMES if name not in (*TWO_COMPONENT_COLUMNS, "depth")),
        "Names of features beside the components, of those in FEATURE_DOCS; may be empty.",
        choices=FEATURE_DOCS,
        unique=True,
    )
    use_ranks: bool = setting(
        True, "Whether each component and feature is replaced by the normal score of its rank."
    )
    n_coordinates: int = setting(
        12,
        "Number of coordinates of the process: principal components of the inputs, scaled to the square "
        "root of their scatter; 0 for the inputs themselves.",
        at_least=0,
    )
    prior_mean: str = setting(
        "quadratic",
        "Mean of the process before it sees its neighbours: zero, as in Buchanan et al. 2022 (none), or a "
        "regression on all inputs and on squares and products of the first coordinates (quadratic).",
        choices=("none", "quadratic"),
    )
    n_products: int = setting(
        12, "Number of coordinates whose squares and products a quadratic mean has.", at_least=1
    )
    n_neighbors: int = setting(
        50,
        "Number of nearest training footprints that each is conditioned on.",
        at_least=1,
        at_most=1000,
    )
    n_train: int = setting(
        40_000, "Number of training footprints that are kept, at most; drawn at random.", at_least=1
    )
    kernel: KernelSettings = setting(KernelSettings(), "The kernel, where the optimisation starts.")
    optimize_kernel: bool = setting(
        True, "Whether MuyGPyS optimises length scale and noise; without, MuyGPyS is not needed."
    )
    n_batch: int = setting(2000, "Training footprints that the optimisation leaves out in turn.", at_least=1)

    def check(self) -> None:
        if self.n_components > self.cutout.size**2:
            raise SettingsError(
                f"n_components is {self.n_components}, more than the {self.cutout.size**2} pixels of a cutout"
            )
        n_inputs = self.n_components + len(self.features)
        if self.n_coordinates > n_inputs:
            raise SettingsError(f"n_coordinates is {self.n_coordinates}; there are {n_inputs} inputs only")
        if self.n_train <= self.n_neighbors:
            raise SettingsError(f"n_train is {self.n_train}, too few for n_neighbors = {self.n_neighbors}")


_LINK_ROWS = 12_000
"""Training footprints that are left out in turn to fit the link, at most."""
_HYPER = ("smoothness", "length_scale", "noise", "sigma", "slope", "offset")


@registerConfigurable("muygps", classifier_registry)
class MuyGpsClassifier(BlendClassifier):
    """P(blended) by a Gaussian process on the nearest training footprints; P(N) by regressions on its inputs.

    Parameters
    ----------
    *args, **kwargs
        As of `BlendClassifier`.
    """

    ConfigClass: ClassVar[type[BlendClassifierConfig]] = MuyGpsConfig
    SettingsClass: ClassVar[type[ModelSettings]] = MuyGpsSettings
    name: ClassVar[str] = "muygps"
    inputs_version: ClassVar[int] = FEATURES_VERSION

    _map: InputMap | None = None
    _trend: Trend
    _index: NeighborIndex
    _kernel: MaternTable
    _link: Link
    _noise: float
    _labels: np.ndarray
    _noises: np.ndarray
    _relative_noise: np.ndarray

    # --- inputs -----------------------------------------------------------------------------------------

    def _raw(self, samples: FootprintSamples) -> tuple[np.ndarray, np.ndarray]:
        """Cutouts as rows, and features."""
        pixels = samples.cutouts(self.settings.cutout).reshape(len(samples), self.settings.cutout.size**2)
        features = measure_features(samples, self.settings.features)
        return pixels, features

    def prepare(self, samples: FootprintSamples) -> bool:
        self._raw(samples)
        return True

    def _find_posterior(
        self, coordinates: np.ndarray, selves: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and variance; ``selves`` are rows of the index that the points are themselves."""
        k = self.settings.n_neighbors
        if selves is None:
            rows, squared = self._index.query(coordinates, k)
        else:
            rows, squared = drop_self(*self._index.query(coordinates, k + 1), selves)
        return find_posterior(self._index.points, self._labels, rows, squared, self._kernel, self._noises)

    def check_fit(self, *, goes_on: bool = False) -> None:
        # Which only optimises with it.
        if self.settings.optimize_kernel and not goes_on:
            import_muygpys()

    # --- fit --------------------------------------------------------------------------------------------

    def _fit(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> np.ndarray:
        settings: MuyGpsSettings = self.settings
        if settings.optimize_kernel:
            import_muygpys()
        rng = np.random.default_rng(options.seed)
        pixels, features = self._raw(train.samples)
        needed = [name not in CONTEXT_FEATURES for name in settings.features]
        use = np.isfinite(pixels).all(axis=1) & np.isfinite(features[:, needed]).all(axis=1)
        least = max(settings.n_neighbors + 1, settings.n_components)
        if np.count_nonzero(use) <= least:
            raise ValueError(
                f"{np.count_nonzero(use)} usable footprints are too few for {settings.n_neighbors} "
                f"neighbours and {settings.n_components} components: use more scenes, or lower n_neighbors"
            )
        pixels, features, counts = pixels[use], features[use], train.counts[use]
        weights = None if train.weights is None else train.weights[use]
        blended = counts > 1
        if blended.all() or not blended.any():
            raise ValueError("the usable training footprints are all of one kind; use more scenes")
        self._map = InputMap.fit(
            pixels,
            features,
            n_components=settings.n_components,
            n_coordinates=settings.n_coordinates,
            ranks=settings.use_ranks,
            may_lack=[name in CONTEXT_FEATURES for name in settings.features],
            rng=rng,
        )
        inputs = self._map.inputs(pixels, features)
        coordinates = self._map.coordinates(inputs)
        rows = choose_rows(
            blended,
            weights,
            rng,
            n_train=settings.n_train,
            n_neighbors=settings.n_neighbors,
        )
        self._trend, latent = fit_trend(
            settings.prior_mean,
            inputs,
            coordinates,
            blended,
            weights,
            train.group_by_sky(FOLDS)[use],
            rows,
            n_products=settings.n_products,
            rng=rng,
        )
        options.say(f"prior mean {settings.prior_mean} of {len(blended)} footprints")
        kept = None if weights is None else weights[rows]
        latent = self._set_points(coordinates[rows], latent, blended[rows], kept, settings.kernel)
        blended_points = self._labels > 0.0
        if settings.optimize_kernel:
            self._set_kernel(self._optimize(latent, blended_points, options, rng))
        # Weights that make the shares of the points natural again.
        share, kept_share = blended.mean(), blended_points.mean()
        natural = np.where(blended_points, share / kept_share, (1.0 - share) / (1.0 - kept_share))
        held = np.sort(rng.permutation(len(latent))[:_LINK_ROWS])
        plain = settings.prior_mean == "none"
        self._link = fit_link(
            latent[held],
            *self._find_posterior(self._index.points[held], held),
            blended_points[held],
            natural[held],
            plain=plain,
            fit_offset=not plain or weights is not None,
        )
        options.say(
            f"link: sigma {self._link.sigma:.4g}, slope {self._link.slope:.4g}, "
            f"offset {self._link.offset:.4g}"
        )
        self._keep()
        return use

    def _set_points(
        self,
        coordinates: np.ndarray,
        latent: np.ndarray,
        blended: np.ndarray,
        weights: np.ndarray | None,
        settings: KernelSettings,
    ) -> np.ndarray:
        """Take the points of the process; returns the trend in the order of the index."""
        labels, noise = working_labels(latent, blended)
        if weights is not None:
            noise = noise * weights.mean() / weights
        self._take_points(coordinates, labels, noise)
        self._set_kernel(settings)
        return latent[self._index.order]

    def _take_points(self, coordinates: np.ndarray, labels: np.ndarray, noise: np.ndarray) -> None:
        self._index = NeighborIndex.build(coordinates)
        # In the order of the index, and as they are kept in a package.
        self._labels = labels[self._index.order].astype(np.float32).astype(np.float64)
        self._relative_noise = noise[self._index.order].astype(np.float32).astype(np.float64)

    def _set_kernel(self, settings: KernelSettings) -> None:
        self._kernel = MaternTable.make(settings.smoothness, settings.length_scale)
        self._noise = settings.noise
        self._noises = settings.noise * self._relative_noise

    def _optimize(
        self,
        latent: np.ndarray,
        blended: np.ndarray,
        options: FitOptions,
        rng: np.random.Generator,
    ) -> KernelSettings:
        """Hyper-parameters of the kernel by MuyGPyS."""
        settings: MuyGpsSettings = self.settings
        batch = np.sort(rng.permutation(len(blended))[: settings.n_batch])
        rows, squared = self._index.query(self._index.points[batch], settings.n_neighbors + 1)
        rows, _ = drop_self(rows, squared, batch)
        return optimize_kernel(
            settings.kernel,
            self._index.points,
            batch,
            rows,
            self._labels,
            self._relative_noise,
            latent,
            blended,
            plain=settings.prior_mean == "none",
            say=options.say,
        )

    def _fine_tune(
        self, train: LabelledSamples, validation: LabelledSamples | None, options: FitOptions
    ) -> None:
        """Add footprints to those of the model, and fit its link to them."""
        assert self._map is not None
        weights, counts = train.weights, train.counts
        pixels, features = self._raw(train.samples)
        inputs = self._map.inputs(pixels, features)
        use = np.isfinite(inputs).all(axis=1)
        if weights is not None:
            use &= weights > 0.0
        if not use.any():
            raise ValueError("none of the footprints to learn from is usable")
        inputs, counts = inputs[use], counts[use]
        coordinates = self._map.coordinates(inputs)
        latent, blended = self._trend.latent(inputs, coordinates), counts > 1
        labels, noise = working_labels(latent, blended)
        if weights is not None:
            noise *= np.mean(weights[use]) / weights[use]
        # The new ones are all kept, and as many of the old ones as there is room for.
        rng = np.random.default_rng(options.seed)
        room = max(self.settings.n_train - len(labels), 0)
        old = np.sort(rng.permutation(len(self._labels))[:room])
        n_old = len(old)
        self._take_points(
            np.concatenate([self._index.points[old].astype(np.float32), coordinates]),
            np.concatenate([self._labels[old], labels]),
            np.concatenate([self._relative_noise[old], noise]),
        )
        self._set_kernel(
            KernelSettings(
                smoothness=self._kernel.smoothness, length_scale=self._kernel.length_scale, noise=self._noise
            )
        )
        held = np.flatnonzero(self._index.order >= n_old)
        new = self._index.order[held] - n_old
        self._link = fit_link(
            latent[new],
            *self._find_posterior(self._index.points[held], held),
            blended[new],
            np.ones(len(new)),
            plain=self._link.plain,
            fit_offset=True,
            start=self._link,
            penalty=10.0,
        )
        options.say(f"fine-tuned with {len(new)} footprints: {self._link}")
        self._keep()
        self._record_prior(counts)

    # --- prediction -------------------------------------------------------------------------------------

    def predict(self, samples: FootprintSamples) -> np.ndarray:
        self._learned()
        assert self._map is not None
        pixels, features = self._raw(samples)
        inputs = self._map.inputs(pixels, features)
        p = np.full(len(samples), np.nan)
        use = np.isfinite(inputs).all(axis=1)
        if use.any():
            coordinates = self._map.coordinates(inputs[use])
            latent = self._trend.latent(inputs[use], coordinates)
            p[use] = self._link(latent, *self._find_posterior(coordinates))
        return p

    @property
    def gives_counts(self) -> bool:
        """Never: a process has one latent function."""
        return False

    @property
    def novelty_columns(self) -> tuple[str, ...]:
        return novelty_columns(self.settings.features, self.columns["facts"])

    def count_inputs(self, samples: FootprintSamples) -> np.ndarray:
        self._learned()
        assert self._map is not None
        pixels, features = self._raw(samples)
        return np.hstack([super().count_inputs(samples), self._map.inputs(pixels, features)])

    def find_flags(self, samples: FootprintSamples) -> dict[str, np.ndarray]:
        return super().find_flags(samples) | samples.cutout_flags(self.settings.cutout)

    # --- packages ---------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Gather what was learned."""
        assert self._map is not None
        hyper = [
            *(self._kernel.smoothness, self._kernel.length_scale, self._noise),
            *(self._link.sigma, self._link.slope, self._link.offset),
        ]
        self._state = {
            "pixel_mean": self._map.pixel_mean,
            "components": self._map.components,
            "fill": self._map.fill,
            "knots": self._map.knots,
            "scores": self._map.scores,
            "axes": self._map.axes,
            "trend": self._trend.values,
            "points": self._index.points.astype(np.float32),
            "labels": self._labels.astype(np.float32),
            "relative_noise": self._relative_noise.astype(np.float32),
            "hyper_parameters": np.array(hyper),
        }

    def _set_state(self, arrays: dict[str, np.ndarray]) -> None:
        settings: MuyGpsSettings = self.settings
        n_inputs = settings.n_components + len(settings.features)
        n_coordinates = settings.n_coordinates or n_inputs
        new_map = InputMap.from_arrays(
            arrays,
            n_pixels=settings.cutout.size**2,
            n_components=settings.n_components,
            n_features=len(settings.features),
            n_coordinates=settings.n_coordinates,
            ranks=settings.use_ranks,
        )
        n_products = min(settings.n_products, n_coordinates) if settings.prior_mean == "quadratic" else 0
        trend = Trend(settings.prior_mean, arrays["trend"], n_products)
        trend.check(n_inputs, n_coordinates)
        trend = dataclasses.replace(trend, values=np.asarray(trend.values, dtype=np.float64))
        points, labels, noise = arrays["points"], arrays["labels"], arrays["relative_noise"]
        n = len(points) if points.ndim else 0
        check_array("points", points, (n, n_coordinates))
        check_array("labels", labels, (n,))
        check_array("relative_noise", noise, (n,), positive=True)
        if n < settings.n_neighbors:
            raise ValueError(f"{n} points are fewer than the {settings.n_neighbors} neighbours")
        check_array("hyper_parameters", arrays["hyper_parameters"], (len(_HYPER),))
        hyper = np.asarray(arrays["hyper_parameters"], dtype=np.float64)
        if not (hyper[:5] > 0.0).all():
            raise ValueError("hyper_parameters are not positive but for the last")
        values = dict(zip(_HYPER, map(float, hyper), strict=True))
        kernel = KernelSettings(**{name: values[name] for name in ("smoothness", "length_scale", "noise")})
        self._take_points(points, labels.astype(np.float64), noise.astype(np.float64))
        self._set_kernel(kernel)
        self._link = Link(values["sigma"], values["slope"], values["offset"], settings.prior_mean == "none")
        self._trend, self._map = trend, new_map
        self._keep()
