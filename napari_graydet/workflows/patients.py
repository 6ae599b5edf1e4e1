"""Whose image is it: patients from a CSV file, from file names, or one for each image."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from napari_graydet.errors import DatasetError
from napari_graydet.io.files import read_bytes
from napari_graydet.io.limits import MAX_LABEL_BYTES

Patients = Path | str | None
"""A CSV file of name and patient, a regular expression with one group, or nothing known."""


def patients_option(text: str | None) -> Patients:
    """Return what a person wrote as `Patients`: a file, or else an expression."""
    is_file = text is not None and (text.lower().endswith(".csv") or Path(text).is_file())
    return Path(text) if text is not None and is_file else text


def patients_of(hashes: Mapping[str, str], patients: Patients) -> dict[str, str]:
    """Return the patient of every image.

    Parameters
    ----------
    hashes
        SHA-256 of each image by name.
    patients
        `Path`: a CSV file with the columns name and patient, with or without a header. `str`: a
        regular expression whose only group finds the patient in the name. None: every image is a
        patient of its own, the same bytes under several names being one.

    Raises
    ------
    DatasetError
        If the file or the expression is not of that kind, or leaves an image without a patient.
    """
    if patients is None:
        first: dict[str, str] = {}
        return {name: first.setdefault(digest or name, name) for name, digest in hashes.items()}
    if isinstance(patients, Path):
        known, source = _read_csv(patients), patients.name
    else:
        known, source = _matches(hashes, patients), f"the expression {patients!r}"
    missing = [name for name in hashes if not known.get(name)]
    if missing:
        raise DatasetError(
            f"Expected a patient for each of the {len(hashes)} images, but {source} gives none for "
            f"{len(missing)} of them, such as {missing[0]}; complete it."
        )
    return {name: known[name] for name in hashes}


def _read_csv(path: Path) -> dict[str, str]:
    data = read_bytes(path, max_bytes=MAX_LABEL_BYTES, error=DatasetError, limit_error=DatasetError)
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"))) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path.name} is not a CSV file of text in UTF-8: {error}.") from None
    known: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DatasetError(
                f"Expected image and patient in line {number} of {path.name}, got {len(row)} "
                "columns; write one line for each image, with a comma between the two."
            )
        name, patient = (cell.strip() for cell in row)
        if known.setdefault(name, patient) != patient:
            raise DatasetError(f"{path.name} gives {name} two patients; keep one of them.")
    return known


def _matches(names: Mapping[str, str], expression: str) -> dict[str, str]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise DatasetError(f"{expression!r} is not a regular expression: {error}.") from None
    if pattern.groups != 1:
        raise DatasetError(
            f"Expected one group in {expression!r} that finds the patient, it has "
            f"{pattern.groups}; put the patient's part in parentheses, as in '([^_]+)_'."
        )
    found = {name: pattern.search(name) for name in names}
    return {name: match.group(1) or "" for name, match in found.items() if match}
