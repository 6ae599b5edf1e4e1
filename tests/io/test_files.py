from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.errors import ExportError, ImageError, LimitError, MaskError
from napari_graydet.io import files
from napari_graydet.io.files import atomic_write_bytes, atomic_write_text, read_bytes, sha256_of


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(st.binary(max_size=5000))
def test_written_bytes_are_read_back_with_their_digest(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.bin"
    atomic_write_bytes(path, data)
    assert path.read_bytes() == data
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


def test_missing_folders_are_made_and_no_part_is_left(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a" / "b" / "c.txt", "é\nx\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"\xc3\xa9\nx\n"
    assert names(tmp_path / "a" / "b") == ["c.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(files.os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MaskError, match="No space left"):
        atomic_write_bytes(path, b"new" * 1000, error=MaskError)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["mask.png"]


def test_an_interruption_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_target_that_cannot_be_written_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ExportError, match="Could not write"):
        atomic_write_bytes(tmp_path / "file" / "below.txt", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError):
        atomic_write_bytes(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_file_gets_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    atomic_write_bytes(tmp_path / "ours", b"x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, max_bytes=5) == b"12345"
    with pytest.raises(LimitError, match="more than"):
        read_bytes(path, max_bytes=4)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_endless_devices_are_refused() -> None:
    with pytest.raises(ImageError, match="not a regular file"):
        read_bytes(Path("/dev/zero"), max_bytes=100)


def test_empty_missing_and_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ImageError, match="is empty"):
        read_bytes(tmp_path / "empty", max_bytes=9)
    with pytest.raises(ImageError, match="No such file"):
        read_bytes(tmp_path / "missing", max_bytes=9)
    with pytest.raises(ImageError, match="is a folder"):
        read_bytes(tmp_path, max_bytes=9)
    with pytest.raises(ImageError):
        read_bytes(Path("nul\0byte"), max_bytes=9)
    with pytest.raises(ImageError):
        sha256_of(tmp_path / "missing")
