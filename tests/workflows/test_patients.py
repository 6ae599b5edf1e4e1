"""Whose image is it: CSV files, expressions, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_graydet.errors import DatasetError
from napari_graydet.workflows.patients import patients_of, patients_option

HASHES = {"ann_1": "x", "ann_2": "y", "bob_1": "z", "bob_2": "x"}


def test_nothing_known() -> None:
    assert patients_of(HASHES, None) == {
        "ann_1": "ann_1",
        "ann_2": "ann_2",
        "bob_1": "bob_1",
        "bob_2": "ann_1",  # the same bytes
    }


def test_unhashed_images_are_different_ones() -> None:
    assert patients_of({"a": "", "b": ""}, None) == {"a": "a", "b": "b"}


def test_an_expression() -> None:
    assert set(patients_of(HASHES, "^([a-z]+)_").values()) == {"ann", "bob"}


@pytest.mark.parametrize("head", ["", "image,patient\n", "\ufeffimage,patient\r\n\r\n"])
def test_a_file(tmp_path: Path, head: str) -> None:
    path = tmp_path / "patients.csv"
    lines = "".join(f"{name} , {name[:3]}\r\n" for name in (*HASHES, "carl_9"))
    path.write_bytes((head + lines).encode())
    found = patients_of(HASHES, path)
    assert found == {name: name[:3] for name in HASHES}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("^[a-z]+_", "one group"),
        ("^([a-z]+)_([0-9])", "one group"),
        ("(", "not a regular expression"),
        ("^(ann)_", "none for 2 of them, such as bob_1"),
        ("^([0-9]*)", "none for 4"),
    ],
)
def test_bad_expressions(expression: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as error:
        patients_of(HASHES, expression)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ann_1,ann\n", "none for 3"),
        (b"ann_1;ann\n", "1 columns"),
        (b"ann_1,ann\nann_1,bob\n", "two patients"),
        (b"ann_1,\xff\n", "UTF-8"),
        (b"", "empty"),
        (b'"' + b"x" * 200_000 + b'",y\n', "CSV"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "patients.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        patients_of(HASHES, path)
    assert "\n" not in str(error.value)


def test_what_a_person_writes(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.touch()
    assert patients_option(None) is None
    assert patients_option("^(a)") == "^(a)"
    assert patients_option(str(path)) == path
    assert patients_option("nowhere.csv") == Path("nowhere.csv")  # then the file is missed
