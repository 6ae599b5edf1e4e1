"""The project store: every annotation, every revision, on disk before it is acknowledged."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from napari_graydet.errors import ConflictError, ProjectError
from napari_graydet.io.files import sha256_of
from napari_graydet.project import rows, safekeeping
from napari_graydet.project.database import Database
from napari_graydet.project.filesystem import network_share
from napari_graydet.project.rows import Change, Kind
from napari_graydet.project.schema import Annotation, ImageEntry, RevisionEntry, Source, State
from napari_graydet.project.settings import (
    FILE_NAME,
    ProjectSettings,
    check_relative,
    relative_image_path,
)
from napari_graydet.project.tables import pack, unpack

DEFAULT_CLASSES = ("bone", "lung")
"""What the shipped weights know."""


class ProjectStore:
    """A project: a folder with `graydet.toml`, a database, and images that are never modified.

    Made by `create`, `open` or `open_or_create`. All methods raise `ProjectError` when the disk
    or the database fails; then nothing was written and the store can be used on.

    Attributes
    ----------
    folder
        The project folder.
    images_root
        The folder that image paths are relative to.
    notices
        One-line remarks of opening for the user, such as that the project is on a network share.
    """

    def __init__(
        self, folder: Path, settings: ProjectSettings, database: Database, who: str | None
    ) -> None:
        self.folder = folder
        self.images_root = settings.images_root(folder)
        self.notices: list[str] = []
        self.who = who or _user_name()
        self._database = database
        with database.reading() as connection:
            self._classes = rows.select_classes(connection)
        self._hashes: dict[int, str] = {}
        self._in_doubt: dict[int, str] = {}

    # --- opening and closing ------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: Path,
        classes: Sequence[str] = DEFAULT_CLASSES,
        images: Iterable[Path] = (),
        *,
        images_root: Path | None = None,
        database: str | None = None,
        who: str | None = None,
    ) -> ProjectStore:
        """Make a project.

        Parameters
        ----------
        folder
            The project folder; made if absent.
        classes
            Labels in the order of their ids.
        images
            Image files, absolute or relative to `images_root`; hashed when first annotated.
        images_root
            Folder of the images, by default the project folder.
        database
            A PostgreSQL URL; by default a SQLite file in the project folder.
        who
            Who edits, by default the user's name on this computer.

        Raises
        ------
        ProjectError
            If there is a project already, an image lies outside `images_root`, or the folder
            cannot be written.
        """
        folder = Path(folder).absolute()
        if (folder / FILE_NAME).exists():
            raise ProjectError(f"{folder} is a project already; open it instead.")
        root = Path(os.path.normpath((images_root or folder).absolute()))
        settings = ProjectSettings(images=_relative_root(root, folder))
        if database is not None:
            settings = ProjectSettings(images=settings.images, database=database)
        paths = [relative_image_path(Path(path), root) for path in images]
        names = [check_class_name(name) for name in classes]
        if len(set(names)) != len(names):
            raise ProjectError(f"Class names must differ, got {', '.join(names)}.")

        def fill(connection: sa.Connection) -> None:
            rows.insert_classes(connection, names)
            rows.insert_images(connection, paths)

        _make_folder(folder)
        if settings.is_file:
            safekeeping.create_file(folder / settings.database, fill)
        else:
            safekeeping.create_in_server(settings.database, fill)
        settings.write(folder)
        return cls.open(folder, who=who)

    @classmethod
    def open(cls, folder: Path, *, who: str | None = None) -> ProjectStore:
        """Open a project; checks its database, upgrades an older one, keeps a backup.

        Raises
        ------
        ProjectError
            If it is no project or cannot be read.
        DamagedProjectError
            If a file of it is damaged; it is kept as it is, see `recover`.
        NewerSchemaError
            If a newer version of the program wrote it; it is left untouched.
        """
        folder = Path(folder).absolute()
        settings = ProjectSettings.read(folder)
        notices = []
        if settings.is_file:
            path = folder / settings.database
            safekeeping.upgrade_file(path, safekeeping.check_file(path))
            try:
                safekeeping.renew_backup(path)
            except ProjectError as error:
                notices.append(f"The backup could not be renewed: {error}")
            share = network_share(folder)
            if share:
                notices.append(
                    f"This project is on a network share ({share}): one person at a time is safe; "
                    "for a team put a PostgreSQL URL into graydet.toml."
                )
            database = Database.of_file(path, wal=share is None)
        else:
            database = Database.of_url(settings.database)
            safekeeping.upgrade_server(database)
        store = cls(folder, settings, database, who)
        store.notices.extend(notices)
        return store

    @classmethod
    def open_or_create(cls, folder: Path, *, who: str | None = None) -> ProjectStore:
        """Open a project, or make one of a plain folder of images, in place.

        Images that are new in the folder are added.

        Raises
        ------
        ProjectError
            As `open` and `create`, and if a plain folder has no images.
        """
        from napari_graydet.io.images import find_images  # loads the image libraries

        folder = Path(folder).absolute()
        if (folder / FILE_NAME).exists():
            store = cls.open(folder, who=who)
            if store.images_root.is_dir():
                store.add_images(find_images(store.images_root))
            return store
        settings = ProjectSettings()
        if (folder / settings.database).exists():  # only graydet.toml was lost
            safekeeping.check_file(folder / settings.database)
            settings.write(folder)
            return cls.open(folder, who=who)
        found = find_images(folder) if folder.is_dir() else []
        if not found:
            raise ProjectError(f"{folder} is neither a project nor a folder with images.")
        return cls.create(folder, images=found, who=who)

    @staticmethod
    def recover(folder: Path) -> Path:
        """Put the backup of the database in the place of a damaged one.

        Returns
        -------
        Path
            Where the damaged file is kept.

        Raises
        ------
        ProjectError
            If there is no sound backup, or the project has its database on a server.
        """
        folder = Path(folder).absolute()
        settings = ProjectSettings.read(folder)
        if not settings.is_file:
            raise ProjectError("The database is on a server; restore it from the server's backup.")
        return safekeeping.recover(folder / settings.database)

    def close(self) -> None:
        """Close the database. Everything acknowledged is on disk anyway."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- classes and images -------------------------------------------------------------------

    @property
    def classes(self) -> list[str]:
        """Labels; a class's id is its position, and never changes."""
        return list(self._classes)

    def add_class(self, name: str) -> int:
        """Append a class and return its id; the id it has, if it exists."""
        name = check_class_name(name)
        with self._database.writing() as connection:
            known = rows.select_classes(connection)
            if name not in known:
                rows.insert_classes(connection, [name], first=len(known))
                known.append(name)
        self._classes = known
        return known.index(name)

    def add_images(self, paths: Iterable[Path]) -> int:
        """Add image files that are not in the project yet; return how many.

        Raises
        ------
        ProjectError
            If one lies outside `images_root`; then none is added.
        """
        wanted = [relative_image_path(Path(path), self.images_root) for path in paths]
        with self._database.reading() as connection:
            known = rows.select_paths(connection)
        new = [path for path in dict.fromkeys(wanted) if path not in known]
        if new:
            with self._database.writing() as connection:
                rows.insert_images(connection, new)
        return len(new)

    def entries(self) -> list[ImageEntry]:
        """Return all images in the order in which they were added."""
        with self._database.reading() as connection:
            return rows.select_entries(connection)

    def entry(self, image_id: int) -> ImageEntry:
        """Return one image."""
        with self._database.reading() as connection:
            return rows.select_entries(connection, image_id)[0]

    def image_path(self, image_id: int) -> Path:
        """Return an image's file; whether it still exists is for the reader to say."""
        return self.images_root / check_relative(self.entry(image_id).path)

    def image_changed(self, image_id: int, sha256: str | None = None) -> bool:
        """Tell whether an image's file differs from the one that was annotated.

        Parameters
        ----------
        image_id
            Which image.
        sha256
            The file's digest, if it has been read anyway (`GrayImage.sha256`).

        Returns
        -------
        bool
            False also if it has not been annotated yet.
        """
        recorded = self.entry(image_id).sha256
        current = sha256 or sha256_of(self.image_path(image_id), error=ProjectError)
        if not recorded:
            self._hashes[image_id] = current
        return bool(recorded) and recorded != current

    # --- annotations --------------------------------------------------------------------------

    def annotation(
        self, image_id: int, shape: tuple[int, int] | None = None
    ) -> tuple[Annotation, int]:
        """Return the current record of an image, and its revision.

        Parameters
        ----------
        image_id
            Which image.
        shape
            Height and width of the image. Needed for one that has never been saved, which gives
            an empty record of revision 0; checked against the record otherwise.

        Raises
        ------
        DamagedProjectError
            If the stored record is damaged; `revisions` and `record_at` give older ones.
        ProjectError
            If the image has another shape than the record.
        """
        with self._database.reading() as connection:
            row = rows.select_image(connection, image_id)
        if row["record"] is None:
            if shape is None:
                raise ProjectError(
                    f"{row['path']} has no annotation yet; open the image to begin one."
                )
            return Annotation(width=shape[1], height=shape[0]), row["revision"]
        record = unpack(row["record"], row["path"])
        if shape is not None and record.shape != tuple(shape):
            raise ProjectError(
                f"{row['path']} is {shape[1]} x {shape[0]} pixels, but was annotated at "
                f"{record.width} x {record.height}; put the original image back."
            )
        return record, row["revision"]

    def save(
        self,
        image_id: int,
        annotation: Annotation,
        *,
        expected_revision: int,
        source: Source,
        action: str,
        active_seconds: float = 0.0,
        kind: Kind = "save",
    ) -> int:
        """Save a record as a new revision; it is on disk when this returns.

        Parameters
        ----------
        image_id
            Which image.
        annotation
            The new record.
        expected_revision
            The revision that the change was made on.
        source
            Whether a person or a model made the change.
        action
            What was done, in a few words.
        active_seconds
            Time that the person worked on it.
        kind
            What the revision means to a `History`.

        Returns
        -------
        int
            The new revision.

        Raises
        ------
        ConflictError
            If somebody else saved in between; nothing was written.
        ProjectError
            If the record has unknown labels or does not fit the image, or the disk fails.
        """
        change = self._change(image_id, annotation, source, kind, action, active_seconds)
        with self._database.writing() as connection:
            row = rows.select_image(connection, image_id)
            if row["revision"] != expected_revision and not self._is_ours(connection, row):
                raise self._conflict(connection, row, expected_revision)
            revision = self._write(connection, row, change)
        self._in_doubt.pop(image_id, None)
        return revision

    def save_prediction(self, image_id: int, annotation: Annotation, model: str) -> bool:
        """Save what a model proposes, unless a person has worked on the image.

        Returns
        -------
        bool
            False if there is human work, which was left alone.
        """
        annotation = annotation.model_copy(update={"state": State.PROPOSED})
        if annotation.has_human_work:
            raise ProjectError("A prediction must not claim to be a person's work.")
        change = self._change(image_id, annotation, "model", "prediction", f"prediction of {model}")
        with self._database.writing() as connection:
            row = rows.select_image(connection, image_id)
            if rows.has_human_work(row):
                return False
            self._write(connection, row, change)
        self._in_doubt.pop(image_id, None)
        return True

    # --- the past -----------------------------------------------------------------------------

    def revisions(self, image_id: int) -> list[RevisionEntry]:
        """Return all that was ever saved for an image, oldest first."""
        with self._database.reading() as connection:
            rows.select_entries(connection, image_id)
            return rows.select_revisions(connection, image_id)

    def newest_revisions(self, count: int) -> list[RevisionEntry]:
        """Return the last `count` revisions of the whole project, oldest first."""
        with self._database.reading() as connection:
            return rows.select_revisions(connection, newest=count)

    def record_at(self, image_id: int, revision: int) -> Annotation:
        """Return the record of an image as it was saved in a revision.

        Raises
        ------
        DamagedProjectError
            If that record is damaged.
        ProjectError
            If there is no such revision.
        """
        with self._database.reading() as connection:
            row = rows.select_revision(connection, image_id, revision)
        return unpack(row["record"], f"revision {revision} of image {image_id}")

    # --- the steps of a save ------------------------------------------------------------------

    def _change(
        self,
        image_id: int,
        annotation: Annotation,
        source: Source,
        kind: Kind,
        action: str,
        active_seconds: float = 0.0,
    ) -> Change:
        """Prepare a change; all that is slow or can be wrong happens before the transaction."""
        self._check_labels(annotation)
        try:
            record = pack(annotation)
        except ValueError as error:
            raise ProjectError(
                f"The record is not valid and was not saved: {' '.join(str(error).split())[:200]}."
            ) from error
        sha256 = self._sha256(image_id)
        return Change(annotation, record, source, kind, action, self.who, sha256, active_seconds)

    def _check_labels(self, annotation: Annotation) -> None:
        used = {roi.label for roi in annotation.rois} | {box.label for box in annotation.boxes}
        used |= {*annotation.residual, *annotation.cleanup}
        if not used <= set(self._classes):  # a colleague may have added it meanwhile
            with self._database.reading() as connection:
                self._classes = rows.select_classes(connection)
        if unknown := sorted(used - set(self._classes)):
            raise ProjectError(
                f"The project has no class {unknown[0]!r}, only {', '.join(self._classes)}; "
                "add the class first."
            )

    def _sha256(self, image_id: int) -> str:
        """Return the digest that the image was or is now annotated with, reading it only once."""
        if image_id not in self._hashes:
            recorded = self.entry(image_id).sha256
            path = self.image_path(image_id)
            self._hashes[image_id] = recorded or sha256_of(path, error=ProjectError)
        return self._hashes[image_id]

    def _write(self, connection: sa.Connection, row: rows.Row, change: Change) -> int:
        values = rows.revision_values(row, change)
        self._in_doubt[row["id"]] = values["digest"]
        if not rows.write_revision(connection, row, values, change):
            raise self._conflict(connection, row, row["revision"])
        return int(values["revision"])

    def _is_ours(self, connection: sa.Connection, row: rows.Row) -> bool:
        """Tell whether the newest revision is one of ours whose commit reported an error.

        A disk or a server can fail after it made a commit durable. The caller was told that the
        save failed and repeats it on the old revision; that is no conflict.
        """
        if row["id"] not in self._in_doubt:
            return False
        newest = rows.select_revision(connection, row["id"], row["revision"])
        return bool(newest["digest"] == self._in_doubt[row["id"]])

    @staticmethod
    def _conflict(connection: sa.Connection, row: rows.Row, expected: int) -> ConflictError:
        newest = rows.select_revisions(connection, row["id"], newest=1)
        who = f"{newest[0].who} changed" if newest else "Somebody changed"
        return ConflictError(
            f"{who} {row['path']} meanwhile (revision {row['revision']}, yours is {expected}); "
            "nothing was overwritten. Load it again and repeat your change."
        )


def check_class_name(name: str) -> str:
    """Return a class name if it can be a label, a file name and a line of text everywhere."""
    if not name.strip() or name != name.strip() or len(name) > 100 or not name.isprintable():
        raise ProjectError(
            f"A class name has 1 to 100 printable characters without spaces around, got {name!r}."
        )
    return name


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user, as in some containers
        return "unknown"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"Cannot make the folder {folder}: {error.strerror}.") from error


def _relative_root(root: Path, folder: Path) -> str:
    """Write the images' folder relative to the project, so that both can move together."""
    try:
        return Path(os.path.relpath(root, folder)).as_posix()
    except ValueError:  # another drive
        return root.as_posix()
