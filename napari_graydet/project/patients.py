"""Whose image is it: the rule of patients that a project keeps.

The rule is an expression or the name of a CSV file in the project folder (`settings.patients`).
What it finds stays in memory: it decides which images belong together, and nothing else. Wherever
an image's patient must have a name, the name is that of the patient's first image (`people`).
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from napari_graydet.errors import DatasetError, ProjectError
from napari_graydet.io.files import atomic_write_bytes, read_bytes
from napari_graydet.io.limits import MAX_TABLE_BYTES
from napari_graydet.project.schema import ImageEntry
from napari_graydet.project.settings import MAX_RULE, is_table

FILE_NAME = "patients.csv"
"""Name of the copy of a CSV file; later ones are numbered, none is overwritten."""


@dataclass(frozen=True, eq=False)
class PatientRule:
    """A rule that was read and can be used.

    Parameters
    ----------
    text
        The expression, or the name of the file.
    find
        Returns the patient of an image by its path in the project; None or "" if it is unknown.
    table
        Of a file: its bytes.
    source
        Of a file: where it lies.
    """

    text: str
    find: Callable[[str], str | None]
    table: bytes | None = None
    source: Path | None = None

    @classmethod
    def given(cls, text: str) -> PatientRule:
        """Read a rule as a person writes it; a CSV file may lie anywhere.

        Raises
        ------
        DatasetError
            If it is neither a CSV file that can be read nor an expression with one group.
        """
        if names_file(text):
            return cls._of_file(Path(text))
        return cls(text, _in_path(compiled(text)))

    @classmethod
    def kept(cls, folder: Path, text: str) -> PatientRule:
        """Read the rule that stands in a project's settings; no file outside the folder is read.

        Raises
        ------
        DatasetError
            As `given`, or if the file leads out of the folder.
        """
        if not is_table(text):
            return cls(text, _in_path(compiled(text)))
        path = folder / text
        if path.resolve().parent != folder.resolve():
            raise DatasetError(
                f"Expected {text} in the project folder itself, but it leads out of it; "
                "set the patients again."
            )
        if not path.is_file():
            raise DatasetError(
                f"Expected the patients of the project in {text}, but there is no such file in its "
                "folder; bring it back, or set the patients again."
            )
        return cls._of_file(path)

    @classmethod
    def _of_file(cls, path: Path) -> PatientRule:
        data = _bytes_of(path)
        return cls(path.name, _in_table(_rows_of(data, path.name)), data, path)

    def __str__(self) -> str:
        """Return what messages call it."""
        return self.text if self.table is not None else f"the expression {self.text!r}"

    def same_as(self, other: PatientRule | None) -> bool:
        """Tell whether another rule says the same by the same means."""
        if other is None or (self.table is None) != (other.table is None):
            return False
        return self.text == other.text if self.table is None else self.table == other.table

    def require(self, paths: Iterable[str]) -> None:
        """Raise `DatasetError` unless every image has a patient."""
        paths = list(paths)
        require_all(paths, [path for path in paths if not self.find(path)], str(self))

    def keep_in(self, folder: Path) -> str:
        """Put the file, if it is one, into a project folder; return what its settings say of it.

        Raises
        ------
        ProjectError
            If it cannot be written.
        """
        if self.table is None or self.source is None:
            return self.text
        inside = self.source.resolve() == folder.resolve() / self.source.name
        if inside and is_table(self.text):
            return self.text
        path = _free(folder, self.table)
        if not path.exists():
            atomic_write_bytes(path, self.table, error=ProjectError)
        return path.name


def people(entries: Sequence[ImageEntry]) -> dict[str, str]:
    """Return the patient of each image by path, called by the patient's first image.

    Images are of one patient if the rule says so, or if they are the same bytes; an image of which
    neither is known is a patient of its own.
    """
    leaders = list(range(len(entries)))

    def leader(place: int) -> int:
        while leaders[place] != place:
            leaders[place] = place = leaders[leaders[place]]
        return place

    first: dict[tuple[str, str], int] = {}
    for place, entry in enumerate(entries):
        for mark in (("patient", entry.patient or ""), ("bytes", entry.sha256)):
            if mark[1]:
                one, other = sorted((leader(place), leader(first.setdefault(mark, place))))
                leaders[other] = one
    return {entry.path: entries[leader(place)].path for place, entry in enumerate(entries)}


def names_file(text: str) -> bool:
    """Tell whether a rule that a person wrote is a file, and not an expression."""
    return is_table(text) or os.path.isfile(text)  # noqa: PTH113 - pathlib's fails at long texts


def read_table(path: Path) -> dict[str, str]:
    """Return the patient of each image that a CSV file names.

    Raises
    ------
    DatasetError
        If it cannot be read, is no table of two columns, or contradicts itself.
    """
    return _rows_of(_bytes_of(path), path.name)


def _bytes_of(path: Path) -> bytes:
    return read_bytes(path, max_bytes=MAX_TABLE_BYTES, error=DatasetError, limit_error=DatasetError)


def _rows_of(data: bytes, name: str) -> dict[str, str]:
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{name} is not a CSV file of text in UTF-8: {error}.") from None
    known: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DatasetError(
                f"Expected image and patient in line {number} of {name}, got {len(row)} "
                "columns; write one line for each image, with a comma between the two."
            )
        image, patient = (cell.strip() for cell in row)
        if known.setdefault(image, patient) != patient:
            raise DatasetError(f"{name} gives {image} two patients; keep one of them.")
    return known


def compiled(expression: str) -> re.Pattern[str]:
    """Return an expression whose only group finds the patient in a name.

    Raises
    ------
    DatasetError
        If it is none.
    """
    if len(expression) > MAX_RULE or not expression.isprintable():
        raise DatasetError(
            f"Expected an expression of at most {MAX_RULE} characters that can be printed, got "
            f"{len(expression)}; write a shorter one, or a CSV file."
        )
    try:
        pattern = re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise DatasetError(f"{expression!r} is not a regular expression: {error}.") from None
    if pattern.groups != 1:
        raise DatasetError(
            f"Expected one group in {expression!r} that finds the patient, it has "
            f"{pattern.groups}; put the patient's part in parentheses, as in '([^_]+)_'."
        )
    return pattern


def require_all(names: Sequence[str], missing: Sequence[str], source: str) -> None:
    """Raise `DatasetError` if images have no patient."""
    if missing:
        raise DatasetError(
            f"Expected a patient for each of the {len(names)} images, but {source} gives none for "
            f"{len(missing)} of them, such as {missing[0]}; complete it, or give another."
        )


def _in_path(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    """Look in the file's stem, as for a plain folder; in the whole path if a "/" is asked for."""
    with_folders = "/" in pattern.pattern

    def find(path: str) -> str | None:
        inside = PurePosixPath(path)
        found = pattern.search(str(inside.with_suffix("")) if with_folders else inside.stem)
        return found.group(1) if found else None

    return find


def _in_table(known: Mapping[str, str]) -> Callable[[str], str | None]:
    """Look for an image by its path or its name, with or without the ending."""

    def find(path: str) -> str | None:
        inside = PurePosixPath(path)
        names = (path, str(inside.with_suffix("")), inside.name, inside.stem)
        return next((known[name] for name in names if known.get(name)), None)

    return find


def _free(folder: Path, data: bytes) -> Path:
    """Return a file of this content, or a name that is not taken."""
    stem, ending = Path(FILE_NAME).stem, Path(FILE_NAME).suffix
    number = 1
    path = folder / FILE_NAME
    while os.path.lexists(path) and not _holds(path, data):
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    return path


def _holds(path: Path, data: bytes) -> bool:
    try:
        return not path.is_symlink() and path.is_file() and path.read_bytes() == data
    except OSError:
        return False
