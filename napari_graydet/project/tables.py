"""The tables of a project's database, and how records are packed into them."""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from napari_graydet.errors import DamagedProjectError
from napari_graydet.project.schema import Annotation

COMPRESS_FROM = 2048
"""Bytes of JSON from which a record is compressed: painted residuals are long and repetitive."""

MAX_RECORD = 256 * 2**20
"""Most bytes that a record may unpack to; a file from elsewhere must not fill the memory."""


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

classes = sa.Table(
    "classes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("digest", sa.String(32), nullable=False),
)

images = sa.Table(
    "images",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", sa.String(1024), nullable=False, unique=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("record", sa.LargeBinary),  # last, so that lists don't read through it
)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("image_id", sa.ForeignKey("images.id"), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),  # ISO 8601, UTC
    sa.Column("who", sa.String(200), nullable=False),
    sa.Column("source", sa.String(10), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("active_seconds", sa.Float, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("image_id", "revision"),
)


def pack(annotation: Annotation) -> tuple[Annotation, bytes]:
    """Return a record as it will be read back, and its JSON bytes, compressed when long.

    Raises
    ------
    ValueError
        If it would not be read back; `model_copy` does not validate, so this does.
    """
    text = annotation.model_dump_json(warnings="none").encode()
    read_back = Annotation.model_validate_json(text)
    return read_back, zlib.compress(text) if len(text) >= COMPRESS_FROM else text


def unpack(record: bytes, name: str) -> Annotation:
    """Read a packed record.

    Raises
    ------
    DamagedProjectError
        If it is not a record.
    """
    try:
        return Annotation.model_validate_json(_inflate(record))
    except (zlib.error, ValidationError, ValueError) as error:
        raise DamagedProjectError(f"The record of {name} cannot be read; it was kept.") from error


def _inflate(record: bytes) -> bytes:
    if record[:1] == b"{":
        return record
    stream = zlib.decompressobj()
    text = stream.decompress(record, MAX_RECORD)
    if stream.unconsumed_tail or not stream.eof:
        raise ValueError("too long or cut off")
    return text


def seal(table: sa.Table, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a row with their digest."""
    return {**values, "digest": _digest(table, values)}


def check_seal(table: sa.Table, row: sa.RowMapping, name: str) -> None:
    """Compare a row with its digest: a flipped bit must not pass for a record.

    Raises
    ------
    DamagedProjectError
        If they differ.
    """
    if _digest(table, row) != row["digest"]:
        raise DamagedProjectError(
            f"The stored record of {name} is damaged (its checksum is wrong); it was kept. An "
            "older revision can be restored."
        )


def _digest(table: sa.Table, values: Any) -> str:
    """Hash all columns but the database's own numbering and the digest itself."""
    parts = []
    for column in table.columns:
        if column.name in ("id", "digest"):
            continue
        value = values[column.name]
        if isinstance(value, bytes):
            value = hashlib.blake2b(value, digest_size=16).hexdigest()
        parts.append(value)
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
