# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Exit with status 0 if linear algebra of NumPy works at all, with the code that OPENBLAS_CORETYPE chooses.

Some processors crash in code of OpenBLAS that is made for others (0.3.34 with ``Haswell`` on AMD processors
that have AVX-512), without anything of this package.
"""

from __future__ import annotations

import numpy as np

for kind in ("f4", "f8"):
    x = np.random.default_rng(0).normal(size=(700, 600)).astype(kind)
    np.linalg.eigh(x.T @ x)
    np.linalg.solve(x.T @ x + np.eye(600, dtype=kind), x.T)
    np.linalg.svd(x)
