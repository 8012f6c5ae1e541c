# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Where `.images.psf` was before; programs that name it work for one more release."""

from __future__ import annotations

__all__ = ("PsfSummary", "adaptive_sigma", "kolmogorov_kernel", "summarize_psf")

from .images.psf import PsfSummary, adaptive_sigma, kolmogorov_kernel, summarize_psf
