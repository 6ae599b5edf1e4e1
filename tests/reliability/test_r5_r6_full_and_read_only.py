"""R5 and R6: a full disk, a read-only folder, and a folder that vanishes while in use."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_graydet.errors import ProjectError
from napari_graydet.project.history import History
from napari_graydet.project.store import ProjectStore
from tests.project.projects import SHAPE, edited, make_project, painted

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Return a function that mounts a small disk in memory, or skip."""
    point = tmp_path / "disk"
    point.mkdir()

    def make(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("mounting a small disk needs Linux")
        if done.returncode:
            pytest.skip(f"mounting a small disk needs the rights of root: {done.stderr.strip()}")
        return point

    yield make
    subprocess.run(["umount", "-l", str(point)], capture_output=True, check=False)


def _remount(point: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(point)], check=True)


@pytest.mark.parametrize("size", ["1m", "4m"])
def test_a_full_disk_is_reported_and_used_on_when_there_is_space(mount: Mount, size: str) -> None:
    """The smaller disk has no room for a write-ahead log, so both journals are met."""
    folder = mount(f"size={size}") / "project"
    ballast = folder / "ballast"
    saved = refused = 0
    with make_project(folder, 2) as store:
        history = History(store)
        history.do(1, edited(), "with space")
        last = store.annotation(1)
        assert (folder / "annotations.db-wal").exists() == (size == "4m")
        for round_ in range(2):
            _fill(ballast)
            for i in range(30):
                try:
                    history.do(1, edited(i, residual=painted(300 * i).residual), "edit")
                    saved += 1
                    last = store.annotation(1)
                except ProjectError as error:
                    assert "full" in str(error) or "disk" in str(error)
                    refused += 1
                    assert store.annotation(1) == last
            ballast.unlink()
            history.do(1, edited(round_), "with space")
            last = store.annotation(1)
            assert last[0] == edited(round_)
    with ProjectStore.open(folder) as again:
        assert again.annotation(1) == last
        assert len(again.revisions(1)) == last[1]
    assert refused
    print(f"R5: full disk of {size}, {saved} saved, {refused} refused, 0 lost, then worked at once")


def _fill(ballast: Path) -> None:
    """Fill the disk but for a few pages."""
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            stream.truncate(max(0, stream.tell() - 5 * 4096))


def test_a_full_disk_makes_no_half_project(mount: Mount) -> None:
    point = mount("size=64k")
    with pytest.raises(ProjectError):
        ProjectStore.create(point, images=[point / f"{i}.png" for i in range(2000)])
    assert list(point.iterdir()) == []
    with ProjectStore.create(point, images=[point / "1.png"]) as store:
        assert len(store.entries()) == 1


def test_a_read_only_project_can_be_looked_at(mount: Mount) -> None:
    point = mount("size=8m")
    folder = point / "project"
    with make_project(folder, 2) as store:
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
    (folder / "annotations.backup.db").unlink()
    _remount(point, "ro")
    with ProjectStore.open_or_create(folder) as store:
        assert any("backup" in notice for notice in store.notices)
        assert store.annotation(1) == (edited(), 1)
        assert History(store).load(2, SHAPE).boxes == ()
        for write in (
            lambda: store.save(1, edited(), expected_revision=1, source="human", action="edit"),
            lambda: store.add_class("hand"),
            lambda: store.add_images([folder / "new.png"]),
        ):
            with pytest.raises(ProjectError, match="read-only"):
                write()
        assert store.annotation(1) == (edited(), 1)
    with pytest.raises(ProjectError, match=r"Could not write|read-only|Read-only|Cannot"):
        ProjectStore.create(point / "new")


def test_a_folder_that_vanishes_is_not_saved_into(tmp_path: Path) -> None:
    folder, away = tmp_path / "project", tmp_path / "away"
    with make_project(folder, 1) as store:
        history = History(store)
        history.do(1, edited(1), "one")
        folder.rename(away)
        with pytest.raises(ProjectError, match="moved, deleted or replaced"):
            history.do(1, edited(2), "two")
        away.rename(folder)  # the stick is back
        history.do(1, edited(3), "three")
    with ProjectStore.open(folder) as again:
        assert again.annotation(1)[0] == edited(3)
        assert again.revisions(1)[-1].action == "three"


def test_a_folder_that_is_deleted_is_not_saved_into(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    with make_project(folder, 1) as store:
        History(store).do(1, edited(1), "one")
        shutil.rmtree(folder)
        with pytest.raises(ProjectError, match="moved, deleted or replaced"):
            store.save(1, edited(2), expected_revision=1, source="human", action="two")


def test_a_database_that_is_replaced_is_not_saved_into(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    with make_project(folder, 1) as store:
        History(store).do(1, edited(1), "one")
        shutil.copyfile(folder / "annotations.backup.db", tmp_path / "copy")
        (tmp_path / "copy").replace(folder / "annotations.db")
        with pytest.raises(ProjectError, match="moved, deleted or replaced"):
            store.save(1, edited(2), expected_revision=1, source="human", action="two")
