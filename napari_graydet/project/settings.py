"""`graydet.toml`: what a project folder says about itself."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path, PurePosixPath, PureWindowsPath

from pydantic import Field, ValidationError, field_validator

from napari_graydet.errors import DamagedProjectError, NewerSchemaError, ProjectError
from napari_graydet.io.files import DATABASE_ENDINGS, atomic_write_text, is_database, reason_of
from napari_graydet.project.schema import Record

FILE_NAME = "graydet.toml"
DATABASE_NAME = "annotations.db"
FORMAT = 1
MAX_RULE = 500
"""Characters of a rule of patients; longer ones belong into a file."""

_OPTIONAL = ("patients",)

_HEADER = """\
# A napari-graydet project. The annotations are in the database; images are never modified.
# images:   the folder that image paths are relative to
# patients: whose image is it; an expression with one group, or a CSV file in this folder
# database: a file in this folder, or a PostgreSQL URL for a team (postgresql+psycopg://...)
"""


class ProjectSettings(Record):
    """Contents of `graydet.toml`.

    `images` is relative to the project folder, or absolute. `database` is the name of a SQLite
    file in the project folder, or a PostgreSQL URL. `patients` is the rule by which images belong
    to patients (`project.patients`); without it each image is a patient of its own.
    """

    format: int = FORMAT
    images: str = "."
    patients: str | None = Field(None, max_length=MAX_RULE)  # before what may never be missing
    database: str = DATABASE_NAME

    @field_validator("database")
    @classmethod
    def _is_file_name_or_url(cls, database: str) -> str:
        if "://" in database:
            if not database.startswith("postgresql"):
                raise ValueError("a database URL must begin with postgresql")
        elif not database or database in (".", "..") or any(c in database for c in "/\\:\0"):
            raise ValueError("the database is the name of a file in the project folder, or a URL")
        elif not is_database(Path(database)):
            raise ValueError(f"the database's name must end with {', '.join(DATABASE_ENDINGS)}")
        return database

    @field_validator("patients")
    @classmethod
    def _is_expression_or_file_name(cls, patients: str | None) -> str | None:
        """Refuse files elsewhere; whether the rule is a good one is for `project.patients`."""
        if patients is not None and is_table(patients) and any(c in patients for c in "/\\:\0"):
            raise ValueError("the CSV file of patients lies in the project folder")
        return patients

    @classmethod
    def of(cls, images: str, database: str | None = None) -> ProjectSettings:
        """Return settings, by default with a SQLite file.

        Raises
        ------
        ProjectError
            If `database` is neither a file name nor a PostgreSQL URL.
        """
        try:
            return cls(images=images, database=database or DATABASE_NAME)
        except ValidationError as error:
            raise ProjectError(
                f"Expected a file name with {', '.join(DATABASE_ENDINGS)}, or a PostgreSQL URL "
                "(postgresql+psycopg://...) for the database."
            ) from error

    @property
    def is_file(self) -> bool:
        """Whether the database is a SQLite file in the project folder."""
        return "://" not in self.database

    @property
    def has_table(self) -> bool:
        """Whether the rule of patients is a CSV file in the project folder."""
        return self.patients is not None and is_table(self.patients)

    def images_root(self, folder: Path) -> Path:
        """Return the folder that image paths are relative to."""
        return Path(os.path.normpath(folder / self.images))

    def write(self, folder: Path) -> None:
        """Write `graydet.toml` into a folder, whole or not at all."""
        values = self.model_dump(exclude_none=True)
        lines = [f"{key} = {_toml_value(value)}\n" for key, value in values.items()]
        atomic_write_text(folder / FILE_NAME, _HEADER + "".join(lines), error=ProjectError)

    @classmethod
    def read(cls, folder: Path) -> ProjectSettings:
        """Read `graydet.toml` of a folder.

        Raises
        ------
        ProjectError
            If there is none, or it cannot be read.
        DamagedProjectError
            If it is not what we wrote.
        NewerSchemaError
            If a newer version of the program wrote it.
        """
        path = folder / FILE_NAME
        try:
            values = tomllib.loads(path.read_bytes().decode("utf-8"))
        except FileNotFoundError as error:
            raise ProjectError(
                f"{folder} is not a project: it has no {FILE_NAME}; create one with init."
            ) from error
        except OSError as error:
            raise ProjectError(f"Cannot read {path}: {reason_of(error)}.") from error
        except ValueError as error:
            raise DamagedProjectError(
                f"{path} is damaged: {error}; it was left as it is."
            ) from error
        return cls._of_values(values, path)

    @classmethod
    def _of_values(cls, values: dict[str, object], path: Path) -> ProjectSettings:
        version = values.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise NewerSchemaError(
                f"{path} has format {version}, this version of napari-graydet knows up to "
                f"{FORMAT}; update napari-graydet. The project was left untouched."
            )
        missing = [key for key in cls.model_fields if key not in (*values, *_OPTIONAL)]
        if missing or version != FORMAT:
            what = f"it has no entry {missing[0]!r}" if missing else f"unknown format {version!r}"
            raise DamagedProjectError(f"{path} is damaged: {what}; it was left as it is.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DamagedProjectError(
                f"{path} is damaged: {where}: {first['msg']}; it was left as it is."
            ) from error


def is_table(rule: str) -> bool:
    """Tell whether a rule of patients is a CSV file, and not an expression."""
    return rule.lower().endswith(".csv")


def _toml_value(value: object) -> str:
    """Write an int or a string as TOML; JSON strings are TOML strings but for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def relative_image_path(path: Path, root: Path) -> str:
    """Return an image's path relative to the images' folder, with forward slashes.

    Raises
    ------
    ProjectError
        If the path leads out of the folder.
    """
    absolute = Path(os.path.normpath(path if path.is_absolute() else root / path))
    try:
        relative = absolute.relative_to(root).as_posix()
    except ValueError as error:
        raise ProjectError(
            f"{path} lies outside the images' folder {root}; move it there or choose another one."
        ) from error
    return check_relative(relative)


def check_relative(relative: str) -> str:
    """Return a stored image path if it stays inside the images' folder, on every system.

    Raises
    ------
    ProjectError
        If it is empty, absolute, or climbs out of the folder.
    """
    posix, windows = PurePosixPath(relative), PureWindowsPath(relative)
    climbs = ".." in posix.parts or ".." in windows.parts
    absolute = posix.is_absolute() or bool(windows.drive or windows.root)
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise ProjectError(
            f"The name {relative!a} is not UTF-8, so no project can keep it; rename the file."
        ) from None
    if climbs or absolute or "\0" in relative or relative in ("", "."):
        raise ProjectError(f"The image path {relative!r} does not stay in the images' folder.")
    return relative
