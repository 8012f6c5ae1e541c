# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Trained classifiers in one file: arrays and metadata, and nothing that runs.

A model package is an uncompressed zip file with ``metadata.json`` and one
``arrays/<name>.npy`` per array.  No object arrays and no pickles are written
or read, so that loading one cannot run code.  The same content gives the same
bytes.
"""

from __future__ import annotations

__all__ = (
    "FORMAT_VERSION",
    "SUFFIX",
    "ModelPackage",
    "ModelPackageError",
    "RangeViolation",
    "find_successor",
    "list_shipped",
    "point_source_depth",
    "require_model",
    "resolve",
)

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lsst.resources import ResourcePath, ResourcePathExpression

from ._files import atomic_path, irregular_kind
from ._package_format import (
    FORMAT_NAME,
    FORMAT_VERSION,
    ModelPackageError,
    check_metadata,
    pack,
    unpack,
)
from ._suggest import did_you_mean

SUFFIX = ".blendid"
MAX_BYTES = 256 * 1024**2
"""Largest package that is read, bytes."""
PSF_MARGIN = 0.05
"""A PSF up to this fraction narrower or wider than those trained on is within
the range of a model."""
DEPTH_MARGIN = 0.15
"""A coadd up to this many magnitudes shallower or deeper than those trained on
is within the range of a model."""


def point_source_depth(noise_sigma: float, psf: np.ndarray, zero_point: float = 31.4) -> float:
    """5-sigma point-source depth of an image.

    Parameters
    ----------
    noise_sigma
        Noise of one pixel, image units.
    psf : `numpy.ndarray`, shape (ny, nx)
        PSF kernel; normalised here to sum 1.
    zero_point
        AB magnitude of one image unit; the default is that of nJy.

    Returns
    -------
    depth
        AB magnitude of a point source with S/N 5; NaN if the noise is not
        positive.
    """
    flux_sigma = noise_sigma / math.sqrt(float(np.sum(np.square(psf / np.sum(psf)))))
    return zero_point - 2.5 * math.log10(5.0 * flux_sigma) if flux_sigma > 0.0 else math.nan


@dataclass(frozen=True)
class RangeViolation:
    """A quantity of an image that lies outside the range that a model was trained on.

    Parameters
    ----------
    quantity
        What it is.
    value
        Its value in the image.
    low, high
        The range.
    unit
        Unit of the three numbers.
    """

    quantity: str
    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class ModelPackage:
    """A trained classifier as data.

    Parameters
    ----------
    classifier
        Name of the classifier, or localiser, in its registry.
    metadata
        JSON-compatible facts: ``name``, ``settings`` (`.model_settings.ModelSettings.to_dict`),
        ``inputs`` (``bands``, ``footprints`` settings, ``footprint_variants``, a list of the settings
        that were several, and the trained ranges
        ``psf_sigma`` in pixels and ``depth`` in AB magnitudes, each
        ``[low, high]`` or `None`, and ``version``, that of what the classifier
        computes from footprints), ``prior``, ``training``, ``validation`` and
        ``versions``.
    arrays
        Numerical arrays.
    source
        Where it was read from, for messages.
    """

    classifier: str
    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    source: str = "<memory>"

    @property
    def name(self) -> str:
        """Name of the model (`str`)."""
        return str(self.metadata.get("name", "unnamed"))

    @property
    def kind(self) -> str:
        """Whether it is a model of a "classifier" or of a "localizer" (`str`)."""
        return str(self.metadata.get("kind", "classifier"))

    @property
    def settings(self) -> dict[str, Any] | None:
        """Settings that it was trained with, as nested plain values; `None` in a package of format 1, which
        has a ``config`` (`dict`).
        """
        return self.metadata.get("settings")

    @property
    def inputs(self) -> dict[str, Any]:
        """Definition and range of the inputs (`dict`)."""
        return self.metadata.get("inputs", {})

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that the model holds for; empty if it holds for any (`tuple` [`str`])."""
        return tuple(self.inputs.get("bands") or ())

    def supports_band(self, band: str) -> bool:
        """Tell whether the model was made for a band.

        Parameters
        ----------
        band
            Name of the band.

        Returns
        -------
        supported
            `True` also for a model without bands.
        """
        return not self.bands or band in self.bands

    def find_violations(self, *, psf_sigma: float, depth: float | None = None) -> tuple[RangeViolation, ...]:
        """Find in what an image is unlike those that the model was trained on.

        Parameters
        ----------
        psf_sigma
            Adaptive-moment width of the PSF, pixels.
        depth
            5-sigma point-source depth, AB magnitudes (`point_source_depth`);
            not looked at if `None`.

        Returns
        -------
        violations
            The width if it lies beyond the trained range by more than
            `PSF_MARGIN`, the depth by more than `DEPTH_MARGIN`.
        """
        found = []
        for quantity, key, value, unit, factor, offset in (
            ("PSF sigma", "psf_sigma", psf_sigma, "pix", 1.0 + PSF_MARGIN, 0.0),
            ("5-sigma depth", "depth", depth, "mag", 1.0, DEPTH_MARGIN),
        ):
            limits = self.inputs.get(key)
            if value is None or limits is None:
                continue
            low, high = float(limits[0]), float(limits[1])
            if not low / factor - offset <= value <= high * factor + offset:
                found.append(RangeViolation(quantity, float(value), low, high, unit))
        return tuple(found)

    def footprint_differences(self, settings: Mapping[str, Any]) -> list[str]:
        """Compare footprint settings to those that the model was trained with.

        Parameters
        ----------
        settings
            Footprint settings by name, such as ``FootprintConfig.toDict()``.

        Returns
        -------
        differences
            One ``name: trained with A, now B`` per setting that differs; empty
            if there is none.
        """
        trained = self.inputs.get("footprints") or {}
        differences = [
            f"{key}: trained with {value!r}, now {settings[key]!r}"
            for key, value in trained.items()
            if key in settings and settings[key] != value
        ]
        variants = self.inputs.get("footprint_variants") or []
        # A background that is subtracted leaves an image as if it had none.
        if variants and not any(
            all(
                settings.get(k) == v or (k == "doSubtractBackground" and settings.get(k))
                for k, v in one.items()
            )
            for one in variants
        ):
            known = " or ".join(", ".join(f"{k}={v!r}" for k, v in one.items()) for one in variants)
            now = ", ".join(f"{key}={settings.get(key)!r}" for key in variants[0])
            differences.append(f"trained with {known}, now {now}")
        return differences

    def to_bytes(self) -> bytes:
        """Serialise; the same content gives the same bytes.

        Returns
        -------
        data
            The content of a package file.

        Raises
        ------
        ModelPackageError
            Raised if the metadata or an array cannot be stored.
        """
        document = {
            "format": FORMAT_NAME,
            "format_version": FORMAT_VERSION,
            "classifier": self.classifier,
            **{key: value for key, value in self.metadata.items() if key != "classifier"},
        }
        check_metadata(document, self.source)
        try:
            text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as err:
            raise ModelPackageError(f"{self.source}: the metadata cannot be stored as JSON: {err}") from None
        return pack(text.encode(), self.arrays)

    @classmethod
    def from_bytes(cls, data: bytes, source: str = "<memory>") -> ModelPackage:
        """Deserialise.

        Parameters
        ----------
        data
            The content of a package file.
        source
            Where it comes from, for messages.

        Returns
        -------
        package
            The package.

        Raises
        ------
        ModelPackageError
            Raised if it is not a package that this release can read.
        """
        metadata, arrays = unpack(data, source, MAX_BYTES)
        metadata = {k: v for k, v in metadata.items() if k not in ("format", "format_version")}
        return cls(metadata["classifier"], metadata, arrays, source)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the package; a file of that name appears only once it is complete.

        Parameters
        ----------
        path
            File to write; it is replaced if it exists.

        Returns
        -------
        path
            The file.

        Raises
        ------
        ModelPackageError
            Raised if the content cannot be stored.
        OSError
            Raised if the file cannot be written.
        """
        path, data = Path(path), self.to_bytes()
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
        return path

    @classmethod
    def read(cls, name_or_uri: ResourcePathExpression) -> ModelPackage:
        """Read a package.

        Parameters
        ----------
        name_or_uri
            Name of a shipped model, path, or any URI that `lsst.resources`
            reads.

        Returns
        -------
        package
            The package.

        Raises
        ------
        ModelPackageError
            Raised if there is none, or not one that this release can read.
        """
        uri = resolve(name_or_uri)
        source = uri.ospath if uri.isLocal and uri.scheme in ("file", "") else str(uri)
        if kind := irregular_kind(source):
            raise ModelPackageError(f"model package {source} is {kind}, which may have no end; give a file")
        try:
            # Not uri.size(), which package resources do not have.
            data = uri.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise ModelPackageError(f"{source} has more than the {MAX_BYTES} bytes of a model package")
        except ModelPackageError:
            raise
        except Exception as err:
            # What a missing or unreadable resource raises depends on its scheme.
            reason = "no such file" if isinstance(err, FileNotFoundError) else f"{type(err).__name__}: {err}"
            raise ModelPackageError(
                f"cannot read model package {source} ({reason}); shipped models: {', '.join(list_shipped())}"
            ) from None
        return cls.from_bytes(data, source)


def _shipped_folder() -> Any:
    return resources.files(__package__).joinpath("models")


def list_shipped(kind: str | None = None, *, current: bool = False) -> tuple[str, ...]:
    """Names of the models that come with this package.

    Parameters
    ----------
    kind
        Only those of a "classifier" or of a "localizer"; all if `None`.
    current
        Leave out those that another one of them supersedes (`find_successor`).

    Returns
    -------
    names
        Sorted names, each of which `ModelPackage.read` takes.
    """
    folder = _shipped_folder()
    if not folder.is_dir():
        return ()
    names = sorted(f.name.removesuffix(SUFFIX) for f in folder.iterdir() if f.name.endswith(SUFFIX))
    # Without reading them all: the names tell.
    kinds = {name: "localizer" if "-localizer-" in name else "classifier" for name in names}
    superseded = {_predecessor(name) for name in names} if current else set()
    return tuple(name for name in names if (kind is None or kinds[name] == kind) and name not in superseded)


def _predecessor(name: str) -> str | None:
    """Name of the model that the shipped one of a name takes the place of; `None` for those of band i."""
    return f"{name.removesuffix('-2')}-i-1" if name.endswith("-2") else None


def find_successor(name: str) -> str | None:
    """Name of the shipped model that takes the place of another.

    Parameters
    ----------
    name
        Name of a model.

    Returns
    -------
    successor
        Its name, or `None` if there is none.
    """
    return next((other for other in list_shipped() if _predecessor(other) == name), None)


def resolve(name_or_uri: ResourcePathExpression) -> ResourcePath:
    """Find the file of a model.

    Parameters
    ----------
    name_or_uri
        Name of a shipped model (without suffix), path, or URI.

    Returns
    -------
    uri
        Where to read it; not checked to exist unless it is a bare name.

    Raises
    ------
    ModelPackageError
        Raised for a bare name that is neither shipped nor a file.
    """
    if isinstance(name_or_uri, str) and re.fullmatch(r"[\w-]+", name_or_uri):
        if name_or_uri in list_shipped():
            return ResourcePath(f"resource://{__package__}/models/{name_or_uri}{SUFFIX}")
        if not Path(name_or_uri).is_file():
            raise ModelPackageError(
                f"unknown model {name_or_uri!r}{did_you_mean(name_or_uri, list_shipped())}: "
                f"give one of {', '.join(list_shipped())}, or the path or URI "
                f"of a {SUFFIX} file"
            )
    if isinstance(name_or_uri, str | os.PathLike) and "://" not in os.fspath(name_or_uri):
        # As a URI of its own, so that '#' and '%' in a file name stay what they are.
        name_or_uri = Path(name_or_uri).expanduser().absolute().as_uri()
    return ResourcePath(name_or_uri, forceDirectory=False)


def require_model(name_or_uri: ResourcePathExpression) -> None:
    """Make sure that there is a model, as far as that can be told without asking another machine.

    Parameters
    ----------
    name_or_uri
        As of `resolve`.

    Raises
    ------
    ModelPackageError
        Raised if there is none.
    """
    uri = resolve(name_or_uri)
    if uri.scheme in ("file", "", "resource") and not uri.exists():
        raise ModelPackageError(
            f"cannot read model package {uri.ospath if uri.isLocal else uri} (no such file); "
            f"shipped models: {', '.join(list_shipped())}"
        )
