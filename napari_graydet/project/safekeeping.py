"""Care for a project's SQLite file: making it, checking it, backing it up, getting it back."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from napari_graydet.errors import DamagedProjectError, NewerSchemaError, ProjectError
from napari_graydet.project import migrations
from napari_graydet.project.database import (
    BUSY_SECONDS,
    Database,
    file_uri,
    log_path,
    translated,
)
from napari_graydet.project.log import lost_saves

BACKUP_AFTER_SECONDS = 24 * 3600.0
"""Age from which a backup is renewed when a project is opened."""


def backup_path(database: Path) -> Path:
    """Return where the backup of a database file is kept."""
    return database.with_suffix(f".backup{database.suffix}")


def create_file(path: Path, fill: Callable[[sa.Connection], None]) -> None:
    """Make a database file with the current schema; it appears complete or not at all.

    One in which nobody has worked, left by a creation that was interrupted, is replaced.

    Raises
    ------
    ProjectError
        If there is one with work in it, or it cannot be written.
    """
    if path.exists() and has_work(path):
        raise ProjectError(f"{path} exists already; open the project instead of creating it.")
    part = path.with_name(f".{path.name}.part")
    with translated(str(path)):
        _remove(part)
        part.touch()
    try:
        database = Database.of_file(part)
        try:
            with database.writing() as connection:
                migrations.upgrade(connection)
                fill(connection)
        finally:
            database.close()
        with translated(str(path)):
            part.replace(path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            _remove(part)


def check_file(path: Path) -> str:
    """Check that a file is a sound project database, without writing to it.

    Returns
    -------
    str
        Version of its schema, not newer than ours.

    Raises
    ------
    DamagedProjectError
        If it is missing, empty, not a database, or damaged.
    NewerSchemaError
        If a newer version of the program wrote it.
    """
    offer = _offer(path)
    if not path.is_file():
        raise DamagedProjectError(f"{path} is missing.{offer}")
    if lost_saves(log_path(path)):
        raise DamagedProjectError(
            f"{log_path(path)} is damaged: the last saves of a program that was killed are in it. "
            "It was kept as it is; the saves before them can be restored "
            f"(napari-graydet recover {path.parent})."
        )
    try:
        with translated(str(path)), _inspecting(path) as connection:
            problems = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problems != "ok":
                raise DamagedProjectError(
                    f"{path} is damaged ({' '.join(problems.split())[:100]}); it was kept as it "
                    f"is.{offer}"
                )
            tables = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
            version = None
            if connection.execute(tables).fetchone():
                version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except DamagedProjectError as error:
        if str(error).endswith(offer):
            raise
        raise DamagedProjectError(f"{path} is damaged; it was kept as it is.{offer}") from error
    return check_version(version[0] if version else None, str(path))


def has_work(path: Path) -> bool:
    """Tell whether anything was ever saved in a database file; raises as `check_file`."""
    check_file(path)
    with translated(str(path)), _inspecting(path) as connection:
        return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM revisions)").fetchone()[0])


def check_version(version: object, name: str) -> str:
    """Refuse schemas that are newer than ours, or none of ours."""
    if not isinstance(version, str) or not version.isdigit():
        raise DamagedProjectError(
            f"{name} is not a complete project database (schema {version!r}); it was kept as it is."
        )
    if int(version) > int(migrations.HEAD):
        raise NewerSchemaError(
            f"{name} has schema {version}, this version of napari-graydet knows up to "
            f"{migrations.HEAD}; update napari-graydet. The project was left untouched."
        )
    return version


def upgrade_file(path: Path, version: str) -> None:
    """Bring a checked database file to the current schema, keeping a copy of the old one."""
    if version == migrations.HEAD:
        return
    back_up(path, path.with_suffix(f".schema-{version}{path.suffix}"))
    database = Database.of_file(path)
    try:
        with database.writing() as connection:
            migrations.upgrade(connection)
    finally:
        database.close()


def create_in_server(url: str, fill: Callable[[sa.Connection], None]) -> None:
    """Make the current schema in an empty database of a server, in one transaction."""
    database = Database.of_url(url)
    try:
        with database.writing() as connection:
            if migrations.schema_version(connection) is not None:
                raise ProjectError(f"{database.name} holds a project already.")
            migrations.upgrade(connection)
            fill(connection)
    finally:
        database.close()


def upgrade_server(database: Database) -> None:
    """Check the schema of a server's database, and bring it to ours in one transaction."""
    with database.writing() as connection:
        version = check_version(migrations.schema_version(connection), database.name)
        if version != migrations.HEAD:
            migrations.upgrade(connection)


def back_up(path: Path, backup: Path) -> None:
    """Copy a database file as of one moment, while others may write; whole or not at all."""
    part = backup.with_name(f".{backup.name}.part")
    try:
        with translated(str(backup)):
            _remove(part)
            with _inspecting(path) as source, contextlib.closing(sqlite3.connect(part)) as target:
                source.backup(target)
            _sync_file(part)
            part.replace(backup)
            _sync_folder(backup.parent)
    finally:
        with contextlib.suppress(OSError):
            _remove(part)


def renew_backup(path: Path, now: float | None = None) -> None:
    """Back up a checked database, if it changed since a backup that is a day old (or none is)."""
    backup = backup_path(path)
    with translated(str(backup)):
        if backup.exists():
            made = backup.stat().st_mtime
            too_young = (time.time() if now is None else now) - made < BACKUP_AFTER_SECONDS
            if too_young or path.stat().st_mtime <= made:
                return
    back_up(path, backup)


def recover(path: Path) -> Path:
    """Put the last good state in the place of a damaged database, which is kept beside it.

    If only the log of a killed program is damaged, that is the database and the sound part of its
    log; else it is the backup.

    Returns
    -------
    Path
        Where the damaged file is now.

    Raises
    ------
    ProjectError
        If there is no sound backup, or nothing is damaged.
    NewerSchemaError
        If a newer version of the program wrote it.
    """
    with contextlib.suppress(DamagedProjectError):
        check_file(path)
        raise ProjectError(f"{path} is sound; there is nothing to recover.")
    kept = path.with_suffix(f".damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}")
    if lost_saves(log_path(path)):
        _fold_sound_part_of_log(path, kept)
    else:
        _restore_backup(path, kept)
    return kept


def _fold_sound_part_of_log(path: Path, kept: Path) -> None:
    with translated(str(path)):
        for file, copy in ((path, kept), (log_path(path), log_path(kept))):
            shutil.copyfile(file, copy)
            _sync_file(copy)
        fold = sqlite3.connect(f"{file_uri(path)}?mode=rw", uri=True, timeout=BUSY_SECONDS)
        with contextlib.closing(fold):
            fold.execute("PRAGMA journal_mode=DELETE")
    check_file(path)


def _restore_backup(path: Path, kept: Path) -> None:
    backup = backup_path(path)
    if not backup.is_file():
        raise ProjectError(f"There is no backup of {path}; restore it from a copy of your own.")
    check_file(backup)
    part = path.with_name(f".{path.name}.part")
    with translated(str(path)):
        shutil.copyfile(backup, part)
        _sync_file(part)
        for suffix in ("", "-journal", "-wal", "-shm"):  # a journal belongs to its file
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{kept}{suffix}")
        part.replace(path)
        _sync_folder(path.parent)


@contextlib.contextmanager
def _inspecting(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database file to look at it, without changing a byte of it.

    Only a save that was interrupted leaves a journal, which has to be rolled back first.
    """
    interrupted = Path(f"{path}-journal").exists()
    uri = f"{file_uri(path)}?mode={'rw' if interrupted else 'ro'}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
    with contextlib.closing(connection):
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection


def _offer(path: Path) -> str:
    backup = backup_path(path)
    if not backup.is_file():
        return ""
    made = datetime.fromtimestamp(backup.stat().st_mtime, UTC)
    how = f"napari-graydet recover {path.parent}"
    return f" A backup of {made:%Y-%m-%d %H:%M} UTC can be restored ({how})."


def _remove(part: Path) -> None:
    for suffix in ("", "-journal"):
        Path(f"{part}{suffix}").unlink(missing_ok=True)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power loss; Windows does so by itself."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
