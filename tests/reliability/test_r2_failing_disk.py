"""R2: every write, sync, truncation and commit of a save fails once; nothing is half or lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from napari_graydet.errors import ConflictError, ProjectError
from napari_graydet.project.history import History
from napari_graydet.project.store import ProjectStore
from tests.project.projects import edited, make_project

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def failing_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the compiled library that makes disk calls fail."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("making disk calls fail needs Linux and a C compiler (cc)")
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "failing_disk.c", "-ldl"],
        check=True,
    )
    return library


@pytest.mark.parametrize("sweep", ["quick", pytest.param("thorough", marks=pytest.mark.long)])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_every_disk_call_fails_once(
    folder: Path, failing_disk: Path, journal: str, sweep: str
) -> None:
    project = folder / "annotations"  # so that syncing the folder itself fails, too
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability.failing_disk", project, journal, sweep],
        env={**os.environ, "LD_PRELOAD": str(failing_disk)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["failed"] >= 12 and counts["refused"] >= 8
    print(
        f"R2 ({journal}): {counts['failed']} failed disk calls with EIO, ENOSPC, EACCES, "
        f"{counts['refused']} saves refused, 0 lost, 0 half; {counts['in_doubt']} had reached the "
        "disk nevertheless and were not taken for a conflict"
    )


def _engine(store: ProjectStore) -> sa.Engine:
    return store._database._engine


def _fail(statement_part: str, error: sqlite3.Error) -> Callable[..., None]:
    def hook(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement_part in statement:
            raise error

    return hook


@pytest.mark.parametrize("part", ["BEGIN", "SELECT", "UPDATE images", "INSERT INTO revisions"])
def test_every_statement_of_a_save_fails_once(tmp_path: Path, part: str) -> None:
    with make_project(tmp_path / "project", 1) as store:
        history = History(store)
        history.do(1, edited(1), "one")
        hook = _fail(part, sqlite3.OperationalError("disk I/O error"))
        sa.event.listen(_engine(store), "before_cursor_execute", hook)
        with pytest.raises(ProjectError, match="disk I/O error"):
            history.do(1, edited(2), "two")
        sa.event.remove(_engine(store), "before_cursor_execute", hook)
        assert store.annotation(1) == (edited(1), 1)
        history.do(1, edited(3), "three")
        assert store.annotation(1) == (edited(3), 2)
        assert len(store.revisions(1)) == 2


def test_a_commit_that_fails_before_it_is_durable(tmp_path: Path) -> None:
    with make_project(tmp_path / "project", 1) as store:
        history = History(store)
        history.do(1, edited(1), "one")

        def hook(_connection: sa.Connection) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        sa.event.listen(_engine(store), "commit", hook)
        with pytest.raises(ProjectError, match="full"):
            history.do(1, edited(2), "two")
        sa.event.remove(_engine(store), "commit", hook)
        assert store.annotation(1) == (edited(1), 1)
        history.do(1, edited(2), "two")
        assert store.annotation(1) == (edited(2), 2)


class _LateFailure:
    """A commit that reaches the disk and then reports an error, as a lost server does."""

    def __init__(self, store: ProjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.dialect = _engine(store).dialect

    def __enter__(self) -> None:
        commit = self.dialect.do_commit

        def fail(connection: Any) -> None:
            commit(connection)
            raise sqlite3.OperationalError("server closed the connection")

        self.monkeypatch.setattr(self.dialect, "do_commit", fail)

    def __exit__(self, *_: object) -> None:
        self.monkeypatch.undo()


def test_a_commit_that_succeeded_but_said_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_project(tmp_path / "project", 1) as store:
        history = History(store)
        history.do(1, edited(1), "one")
        with (
            _LateFailure(store, monkeypatch),
            pytest.raises(ProjectError, match="closed the connection"),
        ):
            history.do(1, edited(2), "two")
        assert store.annotation(1) == (edited(2), 2)
        history.do(1, edited(3), "three")  # made on revision 1, as far as the caller knows
        assert store.annotation(1) == (edited(3), 3)
        history.undo()
        assert store.annotation(1)[0] == edited(1)


def test_somebody_else_after_a_doubtful_commit_is_a_conflict_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    with make_project(folder, 1, who="anna") as store, ProjectStore.open(folder, who="bo") as bo:
        history = History(store)
        history.do(1, edited(1), "one")
        with _LateFailure(store, monkeypatch), pytest.raises(ProjectError):
            history.do(1, edited(2), "two")
        bo.save(1, edited(9), expected_revision=2, source="human", action="bo's")
        with pytest.raises(ConflictError, match="bo changed"):
            history.do(1, edited(3), "three")
        assert bo.annotation(1) == (edited(9), 3)


def test_a_locked_project_is_reported_and_used_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_graydet.project.database.BUSY_SECONDS", 0.1)
    folder = tmp_path / "project"
    with make_project(folder, 1) as store:
        other = sqlite3.connect(folder / "annotations.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ProjectError, match="another program is writing"):
            store.save(1, edited(), expected_revision=0, source="human", action="edit")
        other.execute("ROLLBACK")
        other.close()
        assert store.save(1, edited(), expected_revision=0, source="human", action="edit") == 1
