"""Whose image is it: patients from a CSV file, from file names, or one for each image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari_graydet.project.patients import (
    compiled,
    names_file,
    read_table,
    require_all,
)

Patients = Path | str | None
"""A CSV file of name and patient, a regular expression with one group, or nothing known."""


def patients_option(text: str | None) -> Patients:
    """Return what a person wrote as `Patients`: a file, or else an expression."""
    return Path(text) if text is not None and names_file(text) else text


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
        known, source = read_table(patients), patients.name
    else:
        known, source = _matches(hashes, patients), f"the expression {patients!r}"
    require_all(list(hashes), [name for name in hashes if not known.get(name)], source)
    return {name: known[name] for name in hashes}


def _matches(names: Mapping[str, str], expression: str) -> dict[str, str]:
    pattern = compiled(expression)
    found = {name: pattern.search(name) for name in names}
    return {name: match.group(1) or "" for name, match in found.items() if match}
