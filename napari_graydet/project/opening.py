"""Making and opening projects: the folder, `graydet.toml` and the database together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from napari_graydet.errors import ProjectError
from napari_graydet.io.files import reason_of
from napari_graydet.project import rows, safekeeping
from napari_graydet.project.database import Database
from napari_graydet.project.filesystem import network_share
from napari_graydet.project.patients import PatientRule
from napari_graydet.project.settings import FILE_NAME, ProjectSettings, relative_image_path


@dataclass(frozen=True)
class OpenProject:
    """A checked project: its folder, settings and database, and what the user should know."""

    folder: Path
    settings: ProjectSettings
    database: Database
    notices: tuple[str, ...]


def create_project(
    folder: Path,
    classes: Sequence[str],
    images: Iterable[Path],
    images_root: Path | None,
    database: str | None,
    patients: str | None = None,
) -> None:
    """Make a project; parameters and errors as `ProjectStore.create`.

    `graydet.toml` is written last: a folder is a project from then on, and complete.
    """
    folder = Path(folder).absolute()
    if (folder / FILE_NAME).exists():
        raise ProjectError(f"{folder} is a project already; open it instead.")
    root = Path(os.path.normpath((images_root or folder).absolute()))
    settings = ProjectSettings.of(_relative_root(root, folder), database)
    paths = list(dict.fromkeys(relative_image_path(Path(path), root) for path in images))
    rule = None if patients is None else PatientRule.given(patients)
    if rule is not None:
        rule.require(paths)
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
    if rule is not None:
        settings = settings.model_copy(update={"patients": rule.keep_in(folder)})
    settings.write(folder)


def open_project(folder: Path) -> OpenProject:
    """Check, upgrade and open a project; errors as `ProjectStore.open`."""
    folder = Path(folder).absolute()
    settings = ProjectSettings.read(folder)
    if not settings.is_file:
        database = Database.of_url(settings.database)
        safekeeping.upgrade_server(database)
        return OpenProject(folder, settings, database, ())
    notices = []
    path = folder / settings.database
    safekeeping.upgrade_file(path, safekeeping.check_file(path))
    try:
        safekeeping.renew_backup(path)
    except ProjectError as error:
        notices.append(f"The backup could not be renewed: {error}")
    share = network_share(folder)
    if share:
        notices.append(
            f"This project is on a network share ({share}), where SQLite is safe for one person "
            "at a time; for a team put a PostgreSQL URL into graydet.toml."
        )
    return OpenProject(folder, settings, Database.of_file(path, wal=share is None), tuple(notices))


def adopt_database(folder: Path) -> bool:
    """Write `graydet.toml` beside a database with work that has lost it; False if there is none."""
    settings = ProjectSettings()
    path = folder / settings.database
    if not path.exists() or not safekeeping.has_work(path):
        return False
    settings.write(folder)
    return True


def recover_project(folder: Path) -> Path:
    """Restore the backup; returns and raises as `ProjectStore.recover`."""
    folder = Path(folder).absolute()
    settings = ProjectSettings.read(folder)
    if not settings.is_file:
        raise ProjectError("The database is on a server; restore it from the server's backup.")
    return safekeeping.recover(folder / settings.database)


def check_class_name(name: str) -> str:
    """Return a class name if it can be a label, a file name and a line of text everywhere."""
    if not name.strip() or name != name.strip() or len(name) > 100 or not name.isprintable():
        raise ProjectError(
            f"A class name has 1 to 100 printable characters without spaces around, got {name!r}."
        )
    return name


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"Cannot make the folder {folder}: {reason_of(error)}; choose another place."
        ) from error


def _relative_root(root: Path, folder: Path) -> str:
    """Write the images' folder relative to the project, so that both can move together."""
    try:
        return Path(os.path.relpath(root, folder)).as_posix()
    except ValueError:  # another drive
        return root.as_posix()
