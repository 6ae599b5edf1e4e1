from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from napari_graydet.errors import ProjectError
from napari_graydet.project import opening
from napari_graydet.project.database import Database
from napari_graydet.project.store import ProjectStore
from tests.project.projects import edited, make_project


def test_a_network_share_is_told_and_gets_no_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "network_share", lambda _folder: "cifs")
    with make_project(folder) as store:
        assert "network share (cifs)" in store.notices[0] and "\n" not in store.notices[0]
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
        assert not (folder / "annotations.db-wal").exists()
        assert ProjectStore.open(folder).annotation(1) == (edited(), 1)


def test_every_connection_syncs_and_checks(folder: Path) -> None:
    with make_project(folder) as store:
        with store._database.writing() as connection:
            pragmas = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema")
            values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
        assert values == ["wal", 3, 1, 0]  # 3 is EXTRA


@pytest.mark.parametrize("url", ["postgresql://", "postgresql+nodriver://h/d", "postgresql:/h"])
def test_a_url_that_leads_nowhere_is_one_line(folder: Path, url: str) -> None:
    with pytest.raises(ProjectError) as caught:
        ProjectStore.create(folder, database=url)
    assert "\n" not in str(caught.value)
    assert not (folder / "graydet.toml").exists()


def test_a_password_is_never_shown() -> None:
    with pytest.raises(ProjectError) as caught:
        database = Database.of_url("postgresql+psycopg://anna:hunter2@127.0.0.1:1/study")
        with database.reading():
            pass
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProjectError, match="file"):
        ProjectStore.create(tmp_path / "file")
    with pytest.raises(ProjectError, match="file"):
        ProjectStore.open(tmp_path / "file")


def test_a_transaction_that_raises_writes_nothing(folder: Path) -> None:
    with make_project(folder) as store:
        with pytest.raises(RuntimeError, match="on purpose"), store._database.writing() as db:
            db.exec_driver_sql("DELETE FROM images")
            raise RuntimeError("on purpose")
        assert len(store.entries()) == 3


def test_foreign_keys_hold(folder: Path) -> None:
    """A revision without its image cannot be written, whatever a later version does."""
    with make_project(folder) as store:
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
        with pytest.raises(ProjectError), store._database.writing() as db:
            db.exec_driver_sql("DELETE FROM images WHERE id = 1")
        assert store.annotation(1) == (edited(), 1)
    with sqlite3.connect(folder / "annotations.db") as raw:
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
