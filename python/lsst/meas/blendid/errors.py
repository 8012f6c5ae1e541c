# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Errors that the task raises about its data."""

from __future__ import annotations

__all__ = (
    "BlendIdentificationError",
    "CatalogUnusableError",
    "NoFinitePixelsError",
    "NoModelError",
    "NoNoiseMeasuredError",
    "NoPsfError",
    "UnusablePsfError",
)

from lsst.pipe.base import AlgorithmError, NoWorkFound

type _Metadata = dict[str, str | int | float | bool]


class BlendIdentificationError(AlgorithmError):
    """Base class of the failures that lie in the data.

    Parameters
    ----------
    message
        What is wrong and what to do about it.
    **metadata
        Facts about the failure, kept in the task's log dataset.
    """

    def __init__(self, message: str, **metadata: str | int | float | bool) -> None:
        super().__init__(message)
        self._metadata: _Metadata = dict(metadata)

    @property
    def metadata(self) -> _Metadata:  # type: ignore[override]
        """Facts about the failure (`dict`)."""
        return self._metadata


class NoPsfError(BlendIdentificationError):
    """The coadd carries no PSF."""


class UnusablePsfError(BlendIdentificationError):
    """The PSF has no measurable width."""


class CatalogUnusableError(BlendIdentificationError):
    """The footprints of the catalogue cannot be told apart, or belong to something else."""


class NoFinitePixelsError(BlendIdentificationError):
    """No pixel of the coadd can be searched."""


class NoNoiseMeasuredError(BlendIdentificationError):
    """The noise of the coadd cannot be measured, as where most pixels have one value."""


class NoModelError(NoWorkFound):
    """There is no model for the band of the coadd; other bands of a run can have one.

    Parameters
    ----------
    reason
        What is missing.
    remedy
        What to set in the config.
    """

    def __init__(self, reason: str, *, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
