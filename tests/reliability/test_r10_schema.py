"""R10: older schemas are upgraded whole or not at all, newer ones are left alone."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from napari_graydet.errors import DamagedProjectError, NewerSchemaError
from napari_graydet.project import migrations, safekeeping, tables
from napari_graydet.project.store import ProjectStore
from tests.project.projects import edited, make_project
from tests.reliability import children

DATABASE = "annotations.db"


def _set_version(folder: Path, version: str) -> None:
    with sqlite3.connect(folder / DATABASE) as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", [version])
    raw.close()


def test_a_newer_schema_is_refused_untouched(folder: Path) -> None:
    make_project(folder).close()
    _set_version(folder, "0999")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for opening in (ProjectStore.open, ProjectStore.open_or_create):
        with pytest.raises(NewerSchemaError, match=r"0999.*update napari-graydet"):
            opening(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("version", ["", "x", "-1"])
def test_a_schema_that_is_none_is_damage(folder: Path, version: str) -> None:
    make_project(folder).close()
    _set_version(folder, version)
    with pytest.raises(DamagedProjectError, match="not a complete project database"):
        ProjectStore.open(folder)


def test_migrations_make_the_tables_that_the_program_uses() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        migrations.upgrade(connection)
        assert migrations.schema_version(connection) == migrations.HEAD
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        migrations.upgrade(connection)  # once more changes nothing
    engine.dispose()


def test_the_head_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(migrations.SCRIPTS))
    assert scripts.get_heads() == [migrations.HEAD]
    numbers = [script.revision for script in scripts.walk_revisions()]
    assert numbers == [f"{i:04}" for i in range(len(numbers), 0, -1)]


NEXT_VERSION = """
import time
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("images", sa.Column("patient", sa.String(200)))
    op.create_table("readers", sa.Column("id", sa.Integer, primary_key=True))
    for image_id in range(1, 31):
        op.execute(f"UPDATE images SET patient = 'p{image_id}' WHERE id = {image_id}")
        time.sleep(SECONDS)
"""


@pytest.fixture
def next_schema(tmp_path: Path) -> Path:
    """Return a copy of the migrations with one more, as a later release will have it."""
    scripts = tmp_path / "migrations"
    shutil.copytree(migrations.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "v0002_next.py").write_text(NEXT_VERSION.replace("SECONDS", "0"))
    return scripts


def _columns(folder: Path) -> tuple[str, set[str], int]:
    """Return version, columns of images, and number of images that have a patient."""
    with sqlite3.connect(folder / DATABASE) as raw:
        version = raw.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        names = {row[1] for row in raw.execute("PRAGMA table_info(images)")}
        count = 0
        if "patient" in names:
            count = raw.execute("SELECT count(patient) FROM images").fetchone()[0]
    raw.close()
    return version, names, count


def test_an_older_project_is_upgraded_and_kept(
    folder: Path, next_schema: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_project(folder, 30) as store:
        store.save(1, edited(), expected_revision=0, source="human", action="edit")
    monkeypatch.setattr(migrations, "SCRIPTS", next_schema)
    monkeypatch.setattr(migrations, "HEAD", "0002")
    with ProjectStore.open(folder) as store:
        assert store.annotation(1) == (edited(), 1)
    assert (_columns(folder)[0], _columns(folder)[2]) == ("0002", 30)
    kept = folder / "annotations.schema-0001.db"
    monkeypatch.undo()
    assert safekeeping.check_file(kept) == "0001"
    with pytest.raises(NewerSchemaError):
        ProjectStore.open(folder)


def test_a_migration_that_fails_changes_nothing(
    folder: Path, next_schema: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(folder, 30).close()
    before = _columns(folder)
    script = next_schema / "versions" / "v0002_next.py"
    script.write_text(script.read_text() + "    op.execute('DELETE FROM nowhere')\n")
    monkeypatch.setattr(migrations, "SCRIPTS", next_schema)
    monkeypatch.setattr(migrations, "HEAD", "0002")
    with pytest.raises(Exception, match="nowhere"):
        ProjectStore.open(folder)
    assert _columns(folder) == before
    monkeypatch.undo()
    with ProjectStore.open(folder) as store:
        assert len(store.entries()) == 30


def test_killed_in_a_migration_it_is_old_or_new(folder: Path, next_schema: Path) -> None:
    script = next_schema / "versions" / "v0002_next.py"
    script.write_text(NEXT_VERSION.replace("SECONDS", "0.004"))
    make_project(folder, 30).close()
    old = _columns(folder)
    undisturbed = folder.with_name("undisturbed")
    shutil.copytree(folder, undisturbed)
    child, pipe = children.start(children.migrate, undisturbed, next_schema, "0002")
    assert pipe.poll(60)
    began = time.perf_counter()
    child.join()
    takes = time.perf_counter() - began
    verdicts = []
    for i in range(10):
        copy = folder.with_name(f"copy {i}")
        shutil.copytree(folder, copy)
        child, pipe = children.start(children.migrate, copy, next_schema, "0002")
        pipe.poll(30)
        child.join(60 if i == 9 else 1.2 * takes * i / 8)  # from its first moment to after its end
        child.kill()
        child.join()
        found = _columns(copy)
        assert found == old or (found[0], found[2]) == ("0002", 30)
        verdicts.append(found[0])
    print(
        f"R10: 10 kills in a migration: {verdicts.count('0001')} old, {verdicts.count('0002')} "
        "new, 0 mixed"
    )
    assert "0001" in verdicts and "0002" in verdicts
