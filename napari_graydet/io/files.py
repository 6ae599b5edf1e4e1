"""Files as whole things: read with a bound, written completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from pathlib import Path

from napari_graydet.errors import ExportError, GraydetError, ImageError, LimitError

_PART = ".graydet-{}.part"
"""Name of a file that is still being written; hidden, so that nobody takes it for a result."""

DATABASE_ENDINGS = (".db", ".sqlite", ".sqlite3")
_COMPANIONS = ("-wal", "-shm", "-journal")


def atomic_write_bytes(path: Path, data: bytes, *, error: type[GraydetError] = ExportError) -> None:
    """Write a file so that a reader finds the old content or all of the new one, never a part.

    The data goes to a hidden file beside `path`, is flushed to the disk, and takes the name in one
    step. Folders that are missing are made.

    Parameters
    ----------
    path
        File to write or replace.
    data
        The whole content.
    error
        Error to raise if it cannot be written.

    Raises
    ------
    GraydetError
        `error`, if the disk is full, the folder read-only or the like; `path` is as it was.
    """
    path = Path(path)
    part = path.with_name(_PART.format(uuid.uuid4().hex[:12]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except (OSError, ValueError) as cause:
        raise error(
            f"Could not write {path}: {reason_of(cause)}; choose a folder that can be written "
            "and has space left."
        ) from cause


def atomic_write_text(path: Path, text: str, *, error: type[GraydetError] = ExportError) -> None:
    """Write text as UTF-8 with ``\\n`` line ends; otherwise as `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode("utf-8"), error=error)


def read_bytes(
    path: Path,
    *,
    max_bytes: int,
    error: type[GraydetError] = ImageError,
    limit_error: type[GraydetError] = LimitError,
) -> bytes:
    """Read a whole file that must be regular, not empty, and no larger than `max_bytes`.

    Raises
    ------
    GraydetError
        `error` if there is no such regular file, if it is empty or cannot be read, `limit_error`
        if it is too large (found out before anything is read).
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise error(f"Expected a file, but {path} is {what}; choose a file.")
        if status.st_size > max_bytes:
            raise limit_error(_too_large(path, status.st_size, max_bytes))
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except (OSError, ValueError) as cause:
        raise error(f"Could not read {path}: {reason_of(cause)}; check its name.") from cause
    if len(data) > max_bytes:  # it grew meanwhile, or its size lied
        raise limit_error(_too_large(path, len(data), max_bytes))
    if not data:
        raise error(f"{path.name} is empty (0 bytes); copy or export it again.")
    return data


def is_database(path: Path) -> bool:
    """Tell by its name whether a file belongs to a SQLite database, which only SQLite may open.

    On POSIX systems the locks of a file are the process's: whoever opens and closes it elsewhere in
    the process gives SQLite's locks away. The next program that closes the database then takes
    itself for the last one and deletes the log under a window that goes on saving into it.
    """
    return path.name.casefold().endswith((*DATABASE_ENDINGS, *_COMPANIONS))


def sha256_of(path: Path, *, error: type[GraydetError] = ImageError) -> str:
    """Return the SHA-256 hex digest of a file's bytes.

    Raises
    ------
    GraydetError
        `error`, if the file cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError) as cause:
        raise error(f"Could not read {path}: {reason_of(cause)}; check its name.") from cause


def reason_of(cause: BaseException) -> str:
    """Return one line that says what an exception of the system or of a library means."""
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    return " ".join(text.split())[:200].rstrip(".") or type(cause).__name__


def _too_large(path: Path, size: int, limit: int) -> str:
    return (
        f"{path.name} has {size / 2**20:,.0f} MiB, more than the {limit / 2**20:,.0f} MiB that "
        "are read; crop it or split it."
    )


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power loss (POSIX only; best effort elsewhere)."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
