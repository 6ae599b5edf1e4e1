"""How a change becomes an image's next revision: one transaction, no lost update, no double."""

from __future__ import annotations

import sqlalchemy as sa

from napari_graydet.errors import ConflictError
from napari_graydet.project import rows
from napari_graydet.project.database import Database
from napari_graydet.project.rows import Change, Row


class Saver:
    """Writes prepared changes.

    Parameters
    ----------
    database
        Where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._in_doubt: dict[int, str] = {}

    def save(self, image_id: int, change: Change, expected_revision: int) -> int:
        """Write a change that was made on `expected_revision`; return the new revision.

        Raises
        ------
        ConflictError
            If the image has another revision by now.
        """
        with self._database.writing() as connection:
            row = rows.select_image(connection, image_id)
            if row["revision"] != expected_revision and not self._is_ours(connection, row):
                raise _conflict(connection, row, expected_revision)
            rows.check_size(row, change.annotation)
            revision = self._write(connection, row, row["revision"] + 1, change)
        self._in_doubt.pop(image_id, None)
        return revision

    def save_prediction(self, image_id: int, change: Change) -> bool:
        """Write a change unless a person has worked on the image; return whether it was written."""
        with self._database.writing() as connection:
            row = rows.select_image(connection, image_id)
            if rows.has_human_work(row):
                return False
            rows.check_size(row, change.annotation)
            self._write(connection, row, row["revision"] + 1, change)
        self._in_doubt.pop(image_id, None)
        return True

    def restore(self, image_id: int, change: Change) -> int:
        """Write a change over a row that may be damaged; return the new revision."""
        with self._database.writing() as connection:
            row = rows.select_image(connection, image_id, sealed=False)
            number = rows.newest_revision(connection, image_id) + 1
            revision = self._write(connection, row, number, change)
        self._in_doubt.pop(image_id, None)
        return revision

    def _write(self, connection: sa.Connection, row: Row, number: int, change: Change) -> int:
        values = rows.revision_values(row["id"], number, change)
        self._in_doubt[row["id"]] = values["digest"]
        if not rows.write_revision(connection, row, values, change):
            raise _conflict(connection, row, row["revision"])
        return number

    def _is_ours(self, connection: sa.Connection, row: Row) -> bool:
        """Tell whether the newest revision is one of ours whose commit reported an error.

        A disk or a server can fail after it made a commit durable. The caller was told that the
        save failed and repeats it on the old revision; that is no conflict.
        """
        if row["id"] not in self._in_doubt:
            return False
        newest = rows.select_revision(connection, row["id"], row["revision"])
        return bool(newest["digest"] == self._in_doubt[row["id"]])


def _conflict(connection: sa.Connection, row: Row, expected: int) -> ConflictError:
    newest = rows.select_revisions(connection, row["id"], newest=1)
    who = f"{newest[0].who} changed" if newest else "Somebody changed"
    return ConflictError(
        f"{who} {row['path']} meanwhile (revision {row['revision']}, yours is {expected}); "
        "nothing was overwritten. Load it again and repeat your change."
    )
