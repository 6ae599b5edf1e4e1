from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from napari_graydet.errors import DamagedProjectError, ProjectError
from napari_graydet.project import safekeeping
from napari_graydet.project.store import ProjectStore
from tests.project.projects import edited, make_project

DATABASE, BACKUP = "annotations.db", "annotations.backup.db"
DAY = safekeeping.BACKUP_AFTER_SECONDS


def _save(folder: Path, expected: int) -> None:
    with ProjectStore.open(folder) as store:
        store.save(1, edited(expected), expected_revision=expected, source="human", action="edit")


def _revisions_in(path: Path) -> int:
    with sqlite3.connect(path) as raw:
        count = raw.execute("SELECT count(*) FROM revisions").fetchone()[0]
    raw.close()
    return int(count)


def test_a_backup_is_renewed_once_a_day_if_something_changed(folder: Path) -> None:
    make_project(folder).close()
    backup = folder / BACKUP
    made = backup.stat().st_mtime
    _save(folder, 0)
    _save(folder, 1)
    assert _revisions_in(backup) == 0
    safekeeping.renew_backup(folder / DATABASE, now=made + DAY - 1)
    assert _revisions_in(backup) == 0
    safekeeping.renew_backup(folder / DATABASE, now=made + DAY + 1)
    assert _revisions_in(backup) == 2
    made = backup.stat().st_ino
    safekeeping.renew_backup(folder / DATABASE, now=time.time() + 2 * DAY)
    assert backup.stat().st_ino == made


def test_opening_renews_an_old_backup(folder: Path) -> None:
    make_project(folder).close()
    _save(folder, 0)
    old = time.time() - 2 * DAY
    os.utime(folder / BACKUP, (old, old))
    ProjectStore.open(folder).close()
    assert _revisions_in(folder / BACKUP) == 1


def test_a_disk_that_takes_nothing_for_good_replaces_no_backup(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(folder).close()
    before = (folder / BACKUP).read_bytes()
    _save(folder, 0)
    monkeypatch.setattr(safekeeping.os, "fsync", _broken)
    with pytest.raises(ProjectError):
        safekeeping.back_up(folder / DATABASE, folder / BACKUP)
    assert (folder / BACKUP).read_bytes() == before


def _broken(_file: int) -> None:
    raise OSError(5, "Input/output error")


def test_a_backup_has_what_is_still_in_the_log(folder: Path) -> None:
    with make_project(folder) as store:
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
        assert (folder / f"{DATABASE}-wal").stat().st_size > 0
        safekeeping.back_up(folder / DATABASE, folder / "copy.db")
    assert _revisions_in(folder / "copy.db") == 1
    assert sorted(path.name for path in folder.iterdir() if "part" in path.name) == []


def test_a_project_at_rest_is_one_file(folder: Path) -> None:
    with make_project(folder) as store:
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
    names = {path.name for path in folder.iterdir() if path.suffix != ".png"}
    assert names == {DATABASE, BACKUP, "graydet.toml"}
    assert (folder / DATABASE).read_bytes()[18:20] == b"\x01\x01"  # a rollback-journal file


def test_looking_changes_no_byte(folder: Path) -> None:
    make_project(folder).close()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    with ProjectStore.open(folder) as store:
        store.entries()
        store.revisions(1)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()} == before


def test_what_an_interrupted_creation_left_is_replaced(folder: Path) -> None:
    make_project(folder, 5).close()
    (folder / "graydet.toml").unlink()
    with make_project(folder, 2) as store:
        assert len(store.entries()) == 2
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
    (folder / "graydet.toml").unlink()
    with pytest.raises(ProjectError, match="exists already"):
        make_project(folder, 3)
    with ProjectStore.open_or_create(folder) as store:
        assert store.annotation(1) == (edited(), 1)


def test_a_foreign_database_is_not_taken_for_a_project(folder: Path) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / DATABASE) as raw:
        raw.execute("CREATE TABLE patients (name TEXT)")
    raw.close()
    before = (folder / DATABASE).read_bytes()
    with pytest.raises(DamagedProjectError, match="not a complete project database"):
        ProjectStore.open_or_create(folder)
    assert (folder / DATABASE).read_bytes() == before
