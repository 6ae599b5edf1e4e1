"""Reading and writing the rows of a project, within a transaction that the caller opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import ValidationError

from napari_graydet.errors import DamagedProjectError, ProjectError
from napari_graydet.project.schema import Annotation, ImageEntry, RevisionEntry, Source, State
from napari_graydet.project.tables import check_seal, classes, images, revisions, seal, unpack

Kind = Literal["save", "edit", "undo", "redo", "prediction"]
Row = sa.RowMapping

_ENTRIES = sa.select(
    *(images.c[name] for name in ("id", "path", "sha256", "state", "revision"))
).order_by(images.c.id)
_IMAGE = sa.select(images).where(images.c.id == sa.bindparam("image_id"))
_UPDATE = sa.update(images).where(
    images.c.id == sa.bindparam("image_id"), images.c.revision == sa.bindparam("seen")
)
_INSERT = sa.insert(revisions)
_REVISION = sa.select(revisions).where(
    revisions.c.image_id == sa.bindparam("image_id"),
    revisions.c.revision == sa.bindparam("number"),
)
# Built once: making a statement costs more than running it.


@dataclass(frozen=True)
class Change:
    """What is to become an image's next revision; `record` is the packed `annotation`."""

    annotation: Annotation
    record: bytes
    source: Source
    kind: Kind
    action: str
    who: str
    sha256: str
    active_seconds: float = 0.0


def select_classes(connection: sa.Connection) -> list[str]:
    """Return the labels in the order of their ids."""
    rows = connection.execute(sa.select(classes).order_by(classes.c.id)).mappings().all()
    if [row["id"] for row in rows] != list(range(len(rows))):
        raise DamagedProjectError("The project's list of classes has gaps; it was kept as it is.")
    for row in rows:
        check_seal(classes, row, f"class {row['id']}")
    return [row["name"] for row in rows]


def insert_classes(connection: sa.Connection, names: Sequence[str], first: int = 0) -> None:
    """Append labels, the first with id `first`."""
    rows = [{"id": first + i, **seal(classes, {"name": name})} for i, name in enumerate(names)]
    if rows:
        connection.execute(sa.insert(classes), rows)


def select_paths(connection: sa.Connection) -> set[str]:
    """Return the paths of all images."""
    return set(connection.execute(sa.select(images.c.path)).scalars())


def insert_images(connection: sa.Connection, paths: Sequence[str]) -> None:
    """Add images that nobody has worked on."""
    blank = {
        "sha256": "",
        "width": None,
        "height": None,
        "state": State.NEW.value,
        "revision": 0,
        "record": None,
    }
    rows = [seal(images, {**blank, "path": path}) for path in paths]
    if rows:
        connection.execute(sa.insert(images), rows)


def select_entries(connection: sa.Connection, image_id: int | None = None) -> list[ImageEntry]:
    """Return all images, or one, in the order in which they were added."""
    query = _ENTRIES if image_id is None else _ENTRIES.where(images.c.id == image_id)
    rows = connection.execute(query).mappings().all()
    try:
        entries = [ImageEntry.model_validate(dict(row)) for row in rows]
    except ValidationError as error:
        raise DamagedProjectError(
            "An entry of the project's list of images is damaged; it was kept as it is."
        ) from error
    if image_id is not None and not entries:
        raise _no_image(image_id)
    return entries


def select_image(connection: sa.Connection, image_id: int, *, sealed: bool = True) -> Row:
    """Return the whole row of an image, its checksum verified if `sealed`."""
    row = connection.execute(_IMAGE, {"image_id": image_id}).mappings().one_or_none()
    if row is None:
        raise _no_image(image_id)
    if sealed:
        check_seal(images, row, str(row["path"]))
    return row


def newest_revision(connection: sa.Connection, image_id: int) -> int:
    """Return the number of an image's newest revision, 0 if it has none."""
    query = sa.select(sa.func.max(revisions.c.revision)).where(revisions.c.image_id == image_id)
    return int(connection.execute(query).scalar() or 0)


def select_revision(connection: sa.Connection, image_id: int, revision: int) -> Row:
    """Return the whole row of a revision, its checksum verified."""
    key = {"image_id": image_id, "number": revision}
    row = connection.execute(_REVISION, key).mappings().one_or_none()
    name = f"revision {revision} of image {image_id}"
    if row is None:
        raise ProjectError(f"The project has no {name}.")
    check_seal(revisions, row, name)
    return row


def select_revisions(
    connection: sa.Connection, image_id: int | None = None, newest: int | None = None
) -> list[RevisionEntry]:
    """Return revisions in the order in which they were written, without their records.

    Parameters
    ----------
    connection
        The open transaction.
    image_id
        Of one image only; None for all.
    newest
        Only so many of the newest; None for all.
    """
    columns = [revisions.c[name] for name in RevisionEntry.model_fields]
    query = sa.select(*columns).order_by(revisions.c.id.desc())
    if image_id is not None:
        query = query.where(revisions.c.image_id == image_id)
    if newest is not None:
        query = query.limit(newest)
    rows = connection.execute(query).mappings().all()
    try:
        return [RevisionEntry.model_validate(dict(row)) for row in reversed(rows)]
    except ValidationError as error:
        raise DamagedProjectError(
            "A revision in the project is damaged; it was kept as it is."
        ) from error


def revision_values(image_id: int, number: int, change: Change) -> dict[str, Any]:
    """Return the values of a new revision's row."""
    values = {
        "image_id": image_id,
        "revision": number,
        "at": datetime.now(UTC).isoformat(),
        "who": change.who,
        "source": change.source,
        "kind": change.kind,
        "action": change.action,
        "active_seconds": float(change.active_seconds),
        "state": change.annotation.state.value,
        "record": change.record,
    }
    return seal(revisions, values)


def write_revision(
    connection: sa.Connection, row: Row, values: dict[str, Any], change: Change
) -> bool:
    """Write a revision and make it an image's current record; False if somebody was faster."""
    current = {
        "path": row["path"],
        "sha256": row["sha256"] or change.sha256,
        "width": change.annotation.width,
        "height": change.annotation.height,
        "state": values["state"],
        "revision": values["revision"],
        "record": change.record,
    }
    key = {"image_id": row["id"], "seen": row["revision"]}
    if connection.execute(_UPDATE, {**key, **seal(images, current)}).rowcount != 1:
        return False
    connection.execute(_INSERT, values)
    return True


def has_human_work(row: Row) -> bool:
    """Tell whether a person has worked on an image."""
    if row["record"] is None:
        return False
    return unpack(row["record"], row["path"]).has_human_work


def check_size(row: Row, annotation: Annotation) -> None:
    """Refuse a record of another size than the ones before; an image never changes."""
    recorded = (row["width"], row["height"])
    if recorded != (None, None) and recorded != (annotation.width, annotation.height):
        raise ProjectError(
            f"{row['path']} was annotated at {recorded[0]} x {recorded[1]} pixels, the new record "
            f"is for {annotation.width} x {annotation.height}; nothing was written."
        )


def _no_image(image_id: int) -> ProjectError:
    return ProjectError(f"The project has no image {image_id}.")
