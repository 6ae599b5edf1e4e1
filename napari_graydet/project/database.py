"""The connection to a project's database: transactions, durability, and errors in plain words.

Reading changes no byte of a SQLite file. From the first save on it has a write-ahead log with
`synchronous=EXTRA`: a save is one fsync, a few milliseconds even on a slow disk, and it is on disk
when it returns. When the last program closes the project, the log is folded back into the file, so
that a project at rest is one file that may be copied, or read from a read-only folder. On a network
share, where a write-ahead log does not work, the rollback journal stays in use.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from napari_graydet.errors import ConflictError, DamagedProjectError, ProjectError
from napari_graydet.io.files import reason_of

BUSY_SECONDS = 10.0
"""How long a save waits for another program's save."""

LOG_NEEDS = 2**20
"""Free bytes below which no write-ahead log is begun."""

_WRITES = "graydet_writes"

_PRAGMAS = ("synchronous=EXTRA", "foreign_keys=ON", "trusted_schema=OFF", "cell_size_check=ON")


class Database:
    """An engine whose transactions either happen whole, or raise a `ProjectError`.

    Parameters
    ----------
    url
        Where the database is.
    name
        What to call it in messages.
    path
        The file, if it is SQLite.
    wal
        Whether to keep a write-ahead log once something is written (SQLite on a local disk).
    """

    def __init__(
        self, url: sa.URL | str, name: str, *, path: Path | None = None, wal: bool = False
    ) -> None:
        self.name = name
        self._path = path
        self._identity = _identity(path) if path else None
        self._wal = wal
        self._has_log = False
        with translated(name):
            try:
                self._engine = sa.create_engine(url, poolclass=sa.QueuePool)
            except ImportError as error:
                raise ProjectError(
                    f"Cannot connect to {name}: {reason_of(error)}; install the driver, for "
                    "example with pip install psycopg[binary]."
                ) from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)

    @classmethod
    def of_file(cls, path: Path, *, wal: bool = False) -> Database:
        """Return the database of an existing SQLite file."""
        url = sa.URL.create(
            "sqlite",
            database=file_uri(path),
            query={"mode": "rw", "uri": "true", "timeout": str(BUSY_SECONDS)},
        )
        return cls(url, str(path), path=path, wal=wal)

    @classmethod
    def of_url(cls, url: str) -> Database:
        """Return the database at a URL; messages leave the password out."""
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError as error:
            raise ProjectError("The project's database URL cannot be understood.") from error
        return cls(parsed, parsed.render_as_string(hide_password=True))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that sees one state of the database."""
        with translated(self.name), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction that is on disk when the block ends, or undone if it raises."""
        self._check_unmoved()
        with translated(self.name), self._engine.connect() as plain:
            self._begin_log(plain)
            connection = plain.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection
        self._check_unmoved()
        self._check_log()

    def close(self) -> None:
        """Give all connections back; the last program folds the log into the file."""
        self._engine.dispose()
        if self._path is None or not self._wal:
            return
        with contextlib.suppress(sqlite3.Error):  # another program has it open, or it is read-only
            last = sqlite3.connect(f"{file_uri(self._path)}?mode=rw", uri=True, timeout=0)
            with contextlib.closing(last):
                last.execute("PRAGMA journal_mode=DELETE")

    def _has_room(self) -> bool:
        assert self._path is not None
        return shutil.disk_usage(self._path.parent).free >= LOG_NEEDS

    def _check_unmoved(self) -> None:
        """Refuse to acknowledge what went into a file that was deleted or replaced meanwhile."""
        if self._path is not None and _identity(self._path) != self._identity:
            raise ProjectError(
                f"{self._path} was moved, deleted or replaced while it was open; put it back, or "
                "open the project again. The last change is not saved."
            )

    def _check_log(self) -> None:
        """Refuse to acknowledge what went into a log that was deleted while it was in use.

        While a database is open its log cannot go; unless the locks were lost (see `is_database`
        in io/files.py), as on some network drives.
        """
        if self._path is not None and self._has_log and not log_path(self._path).exists():
            raise ProjectError(
                f"{log_path(self._path)} was deleted while it was in use; open the project again. "
                "What was changed since is not saved."
            )

    def _begin_log(self, connection: sa.Connection) -> None:
        """Change to the write-ahead log; where that fails, the save itself goes on or complains.

        On a disk that is all but full it must not: the log's index would not fit, and without it
        the file could not even be read until there is space.
        """
        raw = connection.connection.dbapi_connection
        if self._wal and not self._has_log and raw is not None and self._has_room():
            with contextlib.suppress(sqlite3.OperationalError):  # read-only, or in use just now
                mode = raw.cursor().execute("PRAGMA journal_mode=WAL").fetchone()
                self._has_log = mode == ("wal",)


def log_path(path: Path) -> Path:
    """Return where SQLite keeps the write-ahead log of a database file."""
    return Path(f"{path}-wal")


def file_uri(path: Path) -> str:
    """Return the URI by which SQLite opens a file (without parameters)."""
    posix = path.absolute().as_posix()
    return f"file://{'' if posix.startswith('/') else '/'}{quote(posix)}"


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one that took its name, None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock first: upgrading a read lock later can only fail, not wait."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what databases and disks raise into one line of ours.

    Raises
    ------
    ConflictError
        If two writers met.
    DamagedProjectError
        If the file is not a sound database.
    ProjectError
        For everything else: locked, full, read-only, gone.
    """
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise ConflictError(
            f"Somebody else changed {name} at the same moment; nothing was written. Try again."
        ) from error
    except sa.exc.DBAPIError as error:
        raise _explain(error.orig or error, name) from error
    except (sqlite3.Error, sa.exc.SQLAlchemyError, OSError, UnicodeDecodeError) as error:
        raise _explain(error, name) from error


def _explain(error: BaseException, name: str) -> ProjectError:
    code = getattr(error, "sqlite_errorname", "") or ""
    reason = reason_of(error)
    garbled = isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in reason
    if garbled or code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DamagedProjectError(
            f"{name} is damaged ({reason}); it was kept as it is. The backup can be restored."
        )
    for start, remedy in _REMEDIES.items():
        if code.startswith(start):
            return ProjectError(f"Cannot use {name}: {remedy}. Nothing was written.")
    return ProjectError(f"Cannot use {name}: {reason}. Nothing was written.")


_REMEDIES = {
    "SQLITE_BUSY": "another program is writing to it; try again",
    "SQLITE_LOCKED": "another program is writing to it; try again",
    "SQLITE_FULL": "the disk is full; free some space and try again",
    "SQLITE_READONLY_DBMOVED": "it was moved or deleted meanwhile; put it back and try again",
    "SQLITE_READONLY": "the file or its folder is read-only; make it writable and try again",
    "SQLITE_CANTOPEN": "it cannot be opened or its folder is not writable; is it still there?",
    "SQLITE_IOERR": "the disk reported an error; check the disk or the connection and try again",
    "SQLITE_PERM": "access is denied; ask for the right to write there and try again",
}
