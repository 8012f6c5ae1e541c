# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Galaxies of HST COSMOS in folders that GalSim reads, and each alone on a wide sky of its own noise.

The folders are those of `galsim.RealGalaxyCatalog` (Mandelbaum et al. 2012,
https://ui.adsabs.harvard.edu/abs/2012MNRAS.420.1518M): a table
``real_galaxy_catalog_<sample>.fits``, beside it ``…_fits.fits`` with measurements and
``…_selection.fits`` with cuts where they are known, and the images.
"""

from __future__ import annotations

__all__ = (
    "HST_PIXEL",
    "HST_ZERO_POINT",
    "IsolatedGalaxies",
    "IsolatedGalaxy",
    "RealGalaxies",
    "find_catalog",
    "open_real_galaxies",
    "segment",
)

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy import ndimage

from ..errors import import_galsim
from ..random_streams import random_stream
from .stamp_set import StampSetError

HST_ZERO_POINT = 25.94
"""AB magnitude of 1 count in the images, which are counts per second in F814W (Leauthaud et al.
2007, https://ui.adsabs.harvard.edu/abs/2007ApJS..172..219L)."""

HST_PIXEL = 0.03
"""Size of a pixel of the images, arcsec."""

SEGMENTATION_THRESHOLD = 1.5
"""Threshold of a segmentation in the noise of the smoothed image (``DETECT_THRESH`` of SExtractor)."""

SEGMENTATION_MIN_AREA = 5
"""Least number of pixels of a segment (``DETECT_MINAREA``)."""

_FILTER = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0  # SExtractor's default.conv
_NEIGHBOR_PEAK = 5.0  # in the noise of the smoothed image
_GROWTH = 5  # pixels by which light of neighbours is taken to spread (candels-blender)
_MARGIN = 16  # pixels that the centre of a galaxy may be off the centre of its image
_EIGHT = np.ones((3, 3), dtype=bool)


@dataclasses.dataclass(frozen=True)
class RealGalaxies:
    """Some galaxies of a catalogue of real ones.

    Parameters
    ----------
    path
        Table of the catalogue.
    rows : `numpy.ndarray`, shape (n,), int64
        Rows of the table that are meant.
    ident : `numpy.ndarray`, shape (n,), int64
        Identity of each galaxy, unique in the catalogue.
    mag : `numpy.ndarray`, shape (n,), float64
        AB magnitude in F814W.
    radius : `numpy.ndarray`, shape (n,), float64
        Radius of half the light in the HST image, arcsec; NaN where not known.
    """

    path: Path
    rows: np.ndarray
    ident: np.ndarray
    mag: np.ndarray
    radius: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def catalog(self) -> Any:
        """The catalogue as `galsim.RealGalaxyCatalog`; opened once in a process."""
        return _open_catalog(self.path)

    def galaxy(self, i: int) -> Any:
        """Make a galaxy without the PSF of HST.

        Parameters
        ----------
        i
            Number of the galaxy, 0 to n - 1.

        Returns
        -------
        galaxy : `galsim.RealGalaxy`
            Its flux is counts of HST per second (`HST_ZERO_POINT`).
        """
        galsim = import_galsim()
        # The deviate is of use to noise that pads the image only; a fixed one keeps this repeatable.
        deviate = galsim.BaseDeviate(1 + int(self.ident[i]))
        return galsim.RealGalaxy(self.catalog, index=int(self.rows[i]), rng=deviate)

    def image(self, i: int) -> np.ndarray:
        """Read the HST image of a galaxy.

        Parameters
        ----------
        i
            Number of the galaxy.

        Returns
        -------
        image : `numpy.ndarray`, shape (h, w), float32
            Counts per second and pixel of 0.03 arcsec, with the PSF and noise of HST.
        """
        return np.asarray(self.catalog.getGalImage(int(self.rows[i])).array, dtype=np.float32)

    def select(self, which: np.ndarray) -> RealGalaxies:
        """Take some of the galaxies.

        Parameters
        ----------
        which : `numpy.ndarray`
            Bool of shape (n,), or numbers of galaxies.

        Returns
        -------
        subset
            Those galaxies.
        """
        which = np.asarray(which)
        return dataclasses.replace(
            self,
            rows=self.rows[which],
            ident=self.ident[which],
            mag=self.mag[which],
            radius=self.radius[which],
        )

    def split(self, shares: Mapping[str, float], seed: int) -> dict[str, RealGalaxies]:
        """Deal the galaxies out, so that no galaxy is in two parts.

        Parameters
        ----------
        shares
            Relative size of each part; parts of 0 get nothing.
        seed
            Seed of the shuffle.

        Returns
        -------
        parts : `dict` [`str`, `RealGalaxies`]
            The parts; those with a positive share have one galaxy at least.

        Raises
        ------
        StampSetError
            Raised if there are fewer galaxies than parts.
        """
        return {name: self.select(rows) for name, rows in deal_out(len(self), shares, seed).items()}


def deal_out(n: int, shares: Mapping[str, float], seed: int) -> dict[str, np.ndarray]:
    """Deal n rows out at random, as `RealGalaxies.split` does: sorted rows of each part."""
    wanted = {name: float(share) for name, share in shares.items() if share > 0}
    if n < len(wanted):
        raise StampSetError(f"{n} galaxies cannot be dealt out to {len(wanted)} parts without sharing one")
    order = random_stream(seed, 1).permutation(n)
    total = sum(wanted.values())
    parts = {name: np.zeros(0, dtype=np.int64) for name in shares}
    start, sum_so_far = 0, 0.0
    for k, (name, share) in enumerate(wanted.items()):
        sum_so_far += share
        last = n - (len(wanted) - 1 - k)
        end = min(max(round(n * sum_so_far / total), start + 1), last)
        parts[name] = np.sort(order[start:end]).astype(np.int64)
        start = end
    return parts


def find_catalog(folder: str | Path) -> Path:
    """Find the table of a catalogue in its folder; `StampSetError` if there is none, or several."""
    folder = Path(folder)
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise StampSetError(f"there is no folder {folder} of real galaxies")
    tables = sorted(
        path
        for path in folder.glob("real_galaxy_catalog*.fits")
        if not path.stem.endswith(("_fits", "_selection"))
    )
    if len(tables) != 1:
        names = ", ".join(path.name for path in tables) or "none"
        raise StampSetError(
            f"{folder} should hold one table real_galaxy_catalog_*.fits of GalSim, and has {names}; "
            "name the table itself, or get the catalogue with galsim_download_cosmos"
        )
    return tables[0]


def open_real_galaxies(folder: str | Path) -> RealGalaxies:
    """Open a catalogue of real galaxies.

    Parameters
    ----------
    folder
        Folder of the catalogue, or its table.

    Returns
    -------
    galaxies
        The galaxies.  Where the catalogue comes with cuts (the whole of COSMOS does),
        those with a bad stamp are left out, as GalSim's ``exclusion_level="bad_stamp"``
        does: S/N below 12 (20 in the sample to 23.5 mag), or a mask within 11 pixels
        beside which there is more light than 0.8 (0.2) of the brightest pixel.

    Raises
    ------
    StampSetError
        Raised if the folder is not such a catalogue, or an image file is missing.
    MissingGalSimError
        Raised if GalSim is not installed.
    """
    path = find_catalog(folder)
    table = _read(path)
    needed = ("IDENT", "MAG", "GAL_FILENAME", "PSF_FILENAME", "GAL_HDU", "PSF_HDU", "NOISE_VARIANCE")
    missing = [name for name in needed if name not in table.colnames]
    if missing:
        raise StampSetError(f"{path} is not a catalogue of real galaxies: it lacks {', '.join(missing)}")
    for column in ("GAL_FILENAME", "PSF_FILENAME"):
        for name in np.unique(np.asarray(table[column]).astype(str)):
            if not (path.parent / name.strip()).is_file():
                raise StampSetError(f"{path.name} names {name.strip()}, which is not in {path.parent}")
    n = len(table)
    radius = np.full(n, np.nan)
    measured = path.with_name(path.stem + "_fits.fits")
    if measured.is_file():
        fits = _read(measured)
        if len(fits) == n and "flux_radius" in fits.colnames:
            radius = np.asarray(fits["flux_radius"], dtype=np.float64) * HST_PIXEL
    keep = np.ones(n, dtype=bool)
    selection = path.with_name(path.stem + "_selection.fits")
    if selection.is_file():
        cuts = _read(selection)
        names = (
            "sn_ellip_gauss",
            "min_mask_dist_pixels",
            "average_mask_adjacent_pixel_count",
            "peak_image_pixel_count",
        )
        if len(cuts) == n and all(name in cuts.colnames for name in names):
            snr, distance, beside, peak = (np.asarray(cuts[name], dtype=np.float64) for name in names)
            bright = "23.5" in path.name
            beside_limit = (0.2 if bright else 0.8) * np.where(peak == 0.0, 1e-5, peak)
            keep = (snr >= (20.0 if bright else 12.0)) & ((distance > 11.0) | (beside < beside_limit))
    if "stamp_flux" in table.colnames:
        keep &= np.asarray(table["stamp_flux"]) > 0.0
    rows = np.flatnonzero(keep)
    if not rows.size:
        raise StampSetError(f"{path} has no galaxy that can be used")
    return RealGalaxies(
        path=path,
        rows=rows,
        ident=np.asarray(table["IDENT"], dtype=np.int64)[rows],
        mag=np.asarray(table["MAG"], dtype=np.float64)[rows],
        radius=radius[rows],
    )


@functools.lru_cache(maxsize=4)
def _open_catalog(path: Path) -> Any:
    galsim = import_galsim()
    return galsim.RealGalaxyCatalog(str(path), dir=str(path.parent))


def _read(path: Path) -> Table:
    try:
        return Table.read(path, hdu=1, format="fits")
    except (OSError, ValueError, IndexError, TypeError) as err:
        raise StampSetError(f"cannot read {path} as a table: {' '.join(str(err).split())}") from None


@dataclasses.dataclass(frozen=True)
class IsolatedGalaxy:
    """A galaxy in the middle of an image of its own.

    ``image`` (2 s + 1, 2 s + 1), counts per second, has noise and no neighbours; ``segment`` is where the
    galaxy is; ``offset`` the centre of its light from the middle pixel, x and y; ``sigma`` the noise per
    pixel; ``flux`` the sum of the image in the segment; ``n_neighbors`` the other sources that were
    replaced by noise.
    """

    image: np.ndarray
    segment: np.ndarray
    offset: tuple[float, float]
    sigma: float
    flux: float
    n_neighbors: int

    def turned(self, k: int) -> IsolatedGalaxy:
        """Turn and mirror as `turn` does, without interpolation."""
        x, y = self.offset
        if k >= 4:
            x = -x
        for _ in range(k % 4):
            x, y = y, -x
        return dataclasses.replace(
            self, image=turn(self.image, k), segment=turn(self.segment, k), offset=(x, y)
        )

    def cut(self, size: int, dx: int = 0, dy: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Cut image and segment of a stamp, views of shape (size, size), around the middle pixel.

        The galaxy is shifted by (dx, dy) pixels, at most half the stamp.
        """
        start = len(self.image) // 2 - size // 2
        part = (slice(start - dy, start - dy + size), slice(start - dx, start - dx + size))
        return self.image[part], self.segment[part]


def turn(array: np.ndarray, k: int) -> np.ndarray:
    """View of an image (n, n) in orientation ``k`` of eight: quarter turns, from 4 on after mirroring x."""
    return np.rot90(array[:, ::-1] if k >= 4 else array, k % 4)


def segment(image: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Label connected sources, int32 (h, w), as SExtractor does without deblending; 0 outside of them.

    The image, without background, is smoothed with SExtractor's 3 × 3 filter; pixels over
    `SEGMENTATION_THRESHOLD` times the standard deviation of the smoothed noise that touch,
    corners included, make a source if there are `SEGMENTATION_MIN_AREA` of them. ``noise`` is a field of the
    same noise without sources.
    """
    sigma = float(np.std(_smooth(noise)))
    labels, n = ndimage.label(_smooth(image) > SEGMENTATION_THRESHOLD * sigma, structure=_EIGHT)
    area = np.bincount(labels.ravel(), minlength=n + 1)
    area[0] = 0
    return np.where(area[labels] >= SEGMENTATION_MIN_AREA, labels, 0).astype(np.int32)


class IsolatedGalaxies:
    """Galaxies of HST, each alone, for stamps of ``size`` pixels; the last ones are kept.

    A pixel of the stamps has ``binning`` HST pixels (0.03 arcsec) along a side.

    The seed is that of the noise around the HST images.
    """

    def __init__(self, galaxies: RealGalaxies, *, size: int, binning: int = 1, seed: int = 1) -> None:
        self.galaxies = galaxies
        self._size, self._binning, self._seed = size, binning, seed
        self._get = functools.lru_cache(maxsize=256)(self._make)

    def __len__(self) -> int:
        return len(self.galaxies)

    def __getitem__(self, i: int) -> IsolatedGalaxy | None:
        """Make a galaxy; None if there is no source in the middle of its image."""
        return self._get(int(i))

    def psf(self, i: int, size: int) -> np.ndarray:
        """PSF of HST with the pixel of the stamps, (size, size) of sum 1, float32, size odd."""
        n = size * self._binning
        psf = self.galaxies.catalog.getPSF(int(self.galaxies.rows[i]))
        image = psf.drawImage(nx=n, ny=n, scale=HST_PIXEL, method="no_pixel", dtype=np.float64).array
        image = _bin(image, self._binning)
        return (image / image.sum()).astype(np.float32)

    def _make(self, i: int) -> IsolatedGalaxy | None:
        galsim = import_galsim()
        row, ident = int(self.galaxies.rows[i]), int(self.galaxies.ident[i])
        variance = float(self.galaxies.catalog.getNoiseProperties(row)[2])
        key = np.random.SeedSequence(self._seed, spawn_key=(21, ident))
        deviate = galsim.BaseDeviate(1 + int(key.generate_state(1)[0]) % (2**31 - 2))
        side = 2 * self._size + 1 + 2 * _MARGIN
        noise = _draw_noise(deviate, variance, side, self._binning)
        fill = _draw_noise(deviate, variance, side, self._binning)
        inner = np.asarray(self.galaxies.image(i), dtype=np.float64)
        # The variance of the catalogue is far off for some: in one of the example, 15 times too large.
        ratio = _roughness(_frame(inner)) / _roughness([noise]) or 1.0
        noise, fill = ratio * noise, ratio * fill
        canvas = _embed(inner - _pedestal(inner, float(np.std(noise))), noise)
        image, field, fill = (_bin(a, self._binning) for a in (canvas, noise, fill))

        labels = segment(image, field)
        label = _central(labels)
        if label == 0:
            return None
        mine = labels == label
        others = _neighbors(image, field, labels, label)
        n_neighbors = len(np.unique(labels[others]))
        if n_neighbors:
            # What candels-blender does: both are grown, and where they meet the galaxy stays.
            replace = ndimage.binary_dilation(others, iterations=_GROWTH)
            replace &= ~ndimage.binary_dilation(mine, iterations=_GROWTH)
            image = np.where(replace, fill, image)

        y, x = np.nonzero(mine)
        weight = np.clip(image[mine], 0.0, None)
        cx, cy = float(np.average(x, weights=weight)), float(np.average(y, weights=weight))
        mx, my = round(cx), round(cy)
        half = self._size
        if min(mx, my) < half or max(mx, my) + half + 1 > side:
            return None
        part = (slice(my - half, my + half + 1), slice(mx - half, mx + half + 1))
        return IsolatedGalaxy(
            image=image[part].astype(np.float32),
            segment=mine[part].copy(),
            offset=(cx - mx, cy - my),
            sigma=float(np.std(field)),
            flux=float(image[mine].sum()),
            n_neighbors=n_neighbors,
        )


def _draw_noise(deviate: Any, variance: float, side: int, binning: int) -> np.ndarray:
    """Draw noise with the correlation of the COSMOS images (`galsim.getCOSMOSNoise`)."""
    galsim = import_galsim()
    image = galsim.ImageD(side * binning, side * binning, scale=HST_PIXEL)
    _cosmos_noise().withVariance(variance).copy(rng=deviate).applyTo(image)
    return np.asarray(image.array)


@functools.lru_cache(maxsize=1)
def _cosmos_noise() -> Any:
    galsim = import_galsim()
    return galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(1), cosmos_scale=HST_PIXEL)


def _neighbors(image: np.ndarray, noise: np.ndarray, labels: np.ndarray, label: int) -> np.ndarray:
    """Pixels of other sources than that of ``label`` that are no bumps of the noise.

    GalSim's images come with most neighbours replaced by noise already.
    """
    smooth = _smooth(image)
    peak = ndimage.maximum(smooth, labels, index=np.arange(labels.max() + 1))
    real = np.asarray(peak) > _NEIGHBOR_PEAK * float(np.std(_smooth(noise)))
    real[[0, label]] = False
    return real[labels]


def _frame(image: np.ndarray) -> list[np.ndarray]:
    """Outer strips of an image, long sides along x."""
    width = max(4, min(image.shape) // 8)
    return [image[:width], image[-width:], image[:, :width].T, image[:, -width:].T]


def _roughness(strips: list[np.ndarray]) -> float:
    """Scatter of differences of pixels two apart, which light of galaxies hardly adds to."""
    steps = np.concatenate([(a[:, 2:] - a[:, :-2]).ravel() for a in strips])
    return float(np.median(np.abs(steps)))


def _smooth(image: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.convolve(np.asarray(image, dtype=np.float64), _FILTER, mode="nearest"))


def _pedestal(image: np.ndarray, sigma: float) -> float:
    """Sky left in an HST image: the median outside of sources, 0 where little is outside."""
    bright = _smooth(image) > SEGMENTATION_THRESHOLD * sigma
    sky = image[~ndimage.binary_dilation(bright, iterations=_GROWTH)]
    return float(np.median(sky)) if sky.size >= 100 else 0.0


def _embed(inner: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    """Put an image in the middle of a larger one, or the middle of it where it is larger."""
    out = canvas.copy()
    h, w = (min(a, b) for a, b in zip(inner.shape, canvas.shape, strict=True))
    (iy, ix), (oy, ox) = (((a.shape[0] - h) // 2, (a.shape[1] - w) // 2) for a in (inner, out))
    out[oy : oy + h, ox : ox + w] = inner[iy : iy + h, ix : ix + w]
    return out


def _bin(image: np.ndarray, binning: int) -> np.ndarray:
    if binning == 1:
        return image
    h, w = (n // binning for n in image.shape)
    return image.reshape(h, binning, w, binning).sum(axis=(1, 3))


def _central(labels: np.ndarray) -> int:
    """Label in the middle; the nearest within `_MARGIN` pixels if there is none, else 0."""
    middle = len(labels) // 2
    if labels[middle, middle]:
        return int(labels[middle, middle])
    y, x = np.nonzero(labels)
    if not y.size:
        return 0
    distance = np.hypot(x - middle, y - middle)
    nearest = int(np.argmin(distance))
    return int(labels[y[nearest], x[nearest]]) if distance[nearest] <= _MARGIN else 0
