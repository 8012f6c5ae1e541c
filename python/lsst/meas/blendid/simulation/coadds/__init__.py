# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""From a catalogue to a coadd: profiles and PSF, drawing, noise, variation between cells, defects."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
