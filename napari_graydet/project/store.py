"""The project store: every annotation, every revision, on disk before it is acknowledged."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from napari_graydet.errors import GraydetError, ProjectError
from napari_graydet.io.files import sha256_of
from napari_graydet.io.images import find_images
from napari_graydet.project import rows
from napari_graydet.project.kept_patients import KeptPatients, drop_rule, keep_rule
from napari_graydet.project.opening import (
    OpenProject,
    adopt_database,
    check_class_name,
    create_project,
    open_project,
    recover_project,
)
from napari_graydet.project.rows import Change, Kind
from napari_graydet.project.saving import Saver
from napari_graydet.project.schema import Annotation, ImageEntry, RevisionEntry, Source, State
from napari_graydet.project.settings import FILE_NAME, check_relative, relative_image_path
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
    who
        Who edits; stands beside every revision.
    """

    def __init__(self, project: OpenProject, who: str | None = None) -> None:
        self.folder = project.folder
        self.images_root = project.settings.images_root(project.folder)
        self.notices = list(project.notices)
        self.who = who or _user_name()
        self._database = project.database
        with self._database.reading() as connection:
            self._classes = rows.select_classes(connection)
        self._hashes: dict[int, str] = {}
        self._patients = KeptPatients(project.folder, project.settings.patients)
        self.notices += self._patients.notices
        self._saver = Saver(project.database)

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
        patients: str | None = None,
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
        patients
            Whose image is it: as for `set_patients`.
        who
            Who edits, by default the user's name on this computer.

        Raises
        ------
        ProjectError
            If there is a project already, an image lies outside `images_root`, or the folder
            cannot be written.
        DatasetError
            If `patients` is no rule, or not one for all of the images.
        """
        create_project(folder, classes, images, images_root, database, patients)
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
        return cls(open_project(folder), who)

    @classmethod
    def open_or_create(cls, folder: Path) -> ProjectStore:
        """Open a project, or make one of a plain folder of images, in place.

        Images that are new in the folder are added.

        Raises
        ------
        ProjectError
            As `open` and `create`.
        ImageError
            If a plain folder has no images.
        """
        folder = Path(folder).absolute()
        if not (folder / FILE_NAME).exists() and not adopt_database(folder):
            return cls.create(folder, images=find_images(folder))
        store = cls.open(folder)
        try:
            store.add_images(find_images(store.images_root))
        except GraydetError as error:
            store.notices.append(f"The folder was not searched for new images: {error}")
        return store

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
        return recover_project(folder)

    def close(self) -> None:
        """Close the database. Everything acknowledged is on disk anyway."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- classes and images -------------------------------------------------------------------

    @property
    def classes(self) -> list[str]:
        """Labels; a class's id is its position, and never changes."""
        return list(self._classes)

    def reload_classes(self) -> list[str]:
        """Return the classes as they are by now: somebody else may have added one."""
        with self._database.reading() as connection:
            self._classes = rows.select_classes(connection)
        return self.classes

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
        self._patients = self._patients.renewed()
        with self._database.reading() as connection:
            return self._patients.mark(rows.select_entries(connection))

    def entry(self, image_id: int) -> ImageEntry:
        """Return one image."""
        with self._database.reading() as connection:
            return self._patients.mark(rows.select_entries(connection, image_id))[0]

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

    # --- patients -----------------------------------------------------------------------------

    @property
    def patients(self) -> KeptPatients:
        """The rule by which images belong to patients, as `entries` found it."""
        return self._patients

    def set_patients(self, rule: str) -> tuple[str, ...]:
        """Give the project a rule by which images belong to patients, from now on.

        Parameters
        ----------
        rule
            A regular expression whose only group finds the patient in a file's stem (in the whole
            path, if there is a "/" in it), or a CSV file of image and patient, which is copied
            into the project folder.

        Returns
        -------
        tuple of str
            What the user should know, one line each.

        Raises
        ------
        DatasetError
            If it is no rule, or leaves images without a patient; then nothing was changed.
        ProjectError
            If the project folder cannot be read or written.
        """
        with self._database.reading() as connection:
            entries = rows.select_entries(connection)
        self._patients, notices = keep_rule(self.folder, rule, entries)
        return notices

    def drop_patients(self) -> tuple[str, ...]:
        """Forget the rule of patients; return what the user should know, one line each.

        Raises
        ------
        ProjectError
            If the project folder cannot be read or written.
        """
        self._patients, notices = drop_rule(self.folder)
        return notices

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
            If the stored record is damaged; `restore` brings an older one back.
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
        return self._saver.save(image_id, change, expected_revision)

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
        return self._saver.save_prediction(image_id, change)

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

    def restore(self, image_id: int, revision: int) -> int:
        """Make an older record the current one again, also where the current one is damaged.

        Returns
        -------
        int
            The new revision; nothing older is changed.

        Raises
        ------
        DamagedProjectError
            If that record is damaged, too.
        """
        annotation = self.record_at(image_id, revision)
        action = f"restore revision {revision}"
        return self._saver.restore(
            image_id, self._change(image_id, annotation, "human", "save", action)
        )

    # --- preparing a save ---------------------------------------------------------------------

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
        try:
            annotation, record = pack(annotation)
        except ValueError as error:
            raise ProjectError(
                f"The record is not valid and was not saved: {' '.join(str(error).split())[:200]}."
            ) from error
        self._check_labels(annotation)
        sha256 = self._sha256(image_id)
        return Change(annotation, record, source, kind, action, self.who, sha256, active_seconds)

    def _check_labels(self, annotation: Annotation) -> None:
        used = {roi.label for roi in annotation.rois} | {box.label for box in annotation.boxes}
        used |= {*annotation.residual, *annotation.cleanup}
        if not used <= set(self._classes):  # a colleague may have added it meanwhile
            self.reload_classes()
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


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user, as in some containers
        return "unknown"
