# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

from __future__ import annotations

from pathlib import Path

import pytest
from lsst.meas.blendid.cli._common import MisuseError
from lsst.meas.blendid.cli._inputs import find_inputs, parse_hdu


def make(folder: Path, *names: str) -> list[str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return [str(folder / name) for name in names]


def stems(*arguments: object, hdu: str | None = None) -> list[str]:
    return [image.stem for image in find_inputs([str(argument) for argument in arguments], hdu)]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.fits", "a"),
        ("a.FIT", "a"),
        ("a.b.fts", "a.b"),
        ("a.fits.gz", "a"),
        ("frame-r.fits.bz2", "frame-r"),
        ("a.fits.xz", "a"),
        ("a.fits.fz", "a"),
        ("a.fz", "a"),
        ("noext", "noext"),
        ("with blank #1.fits", "with blank #1"),
        (".fits", ".fits"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert stems(f"/nowhere/{name}") == [stem]


def test_folder_and_pattern(tmp_path: Path) -> None:
    files = make(tmp_path, "b.fits", "a.fits.fz", "c.txt", ".hidden.fits", "sub/d.fits", "b.blend_peak.fits")
    expected = [str(tmp_path / "a.fits.fz"), str(tmp_path / "b.fits")]
    assert [image.path for image in find_inputs([str(tmp_path)])] == expected
    assert [image.path for image in find_inputs([f"{tmp_path}/**/d.*"])] == [files[4]]
    # Nothing is done twice, and the order is that of the arguments.
    both = find_inputs([files[0], str(tmp_path), f"{tmp_path}/?.fits"])
    assert [image.path for image in both] == expected[::-1]
    # The reader says what is wrong with these.
    for missing in ("nothing.fits", "no*.fits"):
        assert [image.path for image in find_inputs([missing])] == [missing]
    (tmp_path / "empty").mkdir()
    with pytest.raises(MisuseError, match="empty: there is no FITS file in this folder"):
        find_inputs([str(tmp_path / "empty")])


def test_one_stem_in_several_folders(tmp_path: Path) -> None:
    files = make(tmp_path, "i/9/x.fits", "r/9/x.fits", "r/8/y.fits", "r/8/y.fits.gz", "r/9/x.fits.gz")
    assert stems(*files[:2]) == ["i_9_x", "r_9_x"]
    assert stems(*files[2:4]) == ["y_fits", "y_fits_gz"]
    assert len(set(stems(*files))) == len(files)
    # A name that is made so may be that of another file.
    more = make(tmp_path, "i_9_x.fits")
    assert len(set(stems(*files, *more))) == len(files) + 1


def test_hdu_in_brackets(tmp_path: Path) -> None:
    (file,) = make(tmp_path, "image.fits")
    images = find_inputs([f"{file}[1]", f"{file}[SCI]", f"{file}[SCI, 2]", file], hdu="3")
    assert [image.hdu for image in images] == [1, "SCI", ("SCI", 2), 3]
    assert [image.path for image in images] == [file] * 4
    assert [image.name for image in images] == [f"{file}[1]", f"{file}[SCI]", f"{file}[SCI, 2]", file]
    assert [image.stem for image in images] == ["image_1", "image_SCI", "image_SCI_2", "image"]
    # A file of just that name is no HDU.
    (odd,) = make(tmp_path, "image.fits[1]")
    assert [(image.path, image.hdu) for image in find_inputs([odd])] == [(odd, None)]
    with pytest.raises(MisuseError, match="sections of images are not read"):
        find_inputs([f"{file}[1:100,1:100]"])
    (uri,) = find_inputs(["s3://bucket/image.fits[1]"])
    assert (uri.path, uri.hdu, uri.stem) == ("s3://bucket/image.fits", 1, "image_1")


def test_hdu_option() -> None:
    assert [parse_hdu(text) for text in (None, "0", "SCI", "SCI,2", "A,B")] == [
        None,
        0,
        "SCI",
        ("SCI", 2),
        "A,B",
    ]
