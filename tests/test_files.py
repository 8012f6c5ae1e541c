# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Tests of atomic writing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lsst.meas.blendid._files import atomic_path, atomic_paths


def test_files_appear_together(tmp_path: Path) -> None:
    targets = [tmp_path / "a.txt", tmp_path / "b.txt"]
    targets[0].write_text("old")
    with atomic_paths(targets) as temporary:
        for path in temporary:
            path.write_text("new")
        assert targets[0].read_text() == "old" and not targets[1].exists()
    assert [t.read_text() for t in targets] == ["new", "new"]
    assert sorted(tmp_path.iterdir()) == targets


def test_failure_leaves_what_was(tmp_path: Path) -> None:
    targets = [tmp_path / "a.txt", tmp_path / "b.txt"]
    targets[0].write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_paths(targets) as temporary:
        temporary[0].write_text("new")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert targets[0].read_text() == "old"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_while_files_are_renamed_puts_old_ones_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, links: bool
) -> None:
    """All new files or all old ones, and none where there was none, at each of the renames."""
    targets = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt", "d.txt")]
    replace = os.replace

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for last in range(len(targets)):
        for target in targets:
            target.write_text("old")
        targets[1].unlink()

        def fail(source: Path, target: Path, last: int = last) -> None:
            if source.name == target.name and target == targets[last]:
                raise error
            replace(source, target)

        monkeypatch.setattr(os, "replace", fail)
        with pytest.raises(type(error)) as caught, atomic_paths(targets) as temporary:
            for path in temporary:
                path.write_text("new")
        if isinstance(error, OSError):
            assert str(caught.value) == f"cannot write {targets[last]}: No space left on device"
        assert sorted(tmp_path.iterdir()) == [targets[0], *targets[2:]]
        assert {target.read_text() for target in tmp_path.iterdir()} == {"old"}


def test_links_are_replaced_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to("file")
    with pytest.raises(FileNotFoundError), atomic_paths([link, other]) as temporary:
        temporary[0].write_text("new")  # The second is not written.
    assert link.is_symlink() and link.read_text() == "kept"
    assert not other.exists()


def test_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder: it is a folder"), atomic_path(tmp_path / "folder"):
        pass
    with (
        pytest.raises(FileNotFoundError, match=r"cannot write .*none/a"),
        atomic_path(tmp_path / "none" / "a"),
    ):
        pass
    with (
        pytest.raises(IsADirectoryError),
        atomic_paths([tmp_path / "first", tmp_path / "folder"]),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
