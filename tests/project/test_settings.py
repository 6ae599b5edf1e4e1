from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.errors import DamagedProjectError, NewerSchemaError, ProjectError
from napari_graydet.project.settings import (
    FILE_NAME,
    ProjectSettings,
    check_relative,
    relative_image_path,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(images=texts)
def test_any_folder_name_comes_back(tmp_path_factory: pytest.TempPathFactory, images: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "settings"
    written = ProjectSettings(images=images)
    written.write(folder)
    assert ProjectSettings.read(folder) == written
    assert tomllib.loads((folder / FILE_NAME).read_text(encoding="utf-8"))["images"] == images


@given(rule=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_rule_of_patients_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rule: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "rules"
    ProjectSettings(patients=rule).write(folder)
    assert ProjectSettings.read(folder).patients == rule


def test_projects_from_before_there_were_rules_have_none(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("format = 1\nimages = '.'\ndatabase = 'a.db'\n")
    settings = ProjectSettings.read(tmp_path)
    assert settings.patients is None
    settings.write(tmp_path)
    assert "\npatients" not in (tmp_path / FILE_NAME).read_text()


def test_what_is_cut_off_is_not_taken_for_no_rule(tmp_path: Path) -> None:
    ProjectSettings(patients="^([a-z]+)_").write(tmp_path)
    data = (tmp_path / FILE_NAME).read_bytes()
    for size in range(len(data) - 1):
        (tmp_path / FILE_NAME).write_bytes(data[:size])
        with pytest.raises(DamagedProjectError):
            ProjectSettings.read(tmp_path)


def test_a_server_url_is_no_file(tmp_path: Path) -> None:
    settings = ProjectSettings.of(".", "postgresql+psycopg://anna@db.lab/study")
    settings.write(tmp_path)
    assert not ProjectSettings.read(tmp_path).is_file


@pytest.mark.parametrize(
    "database", ["../x.db", "/x.db", "a/b.db", "..", "C:\\x.db", "mysql://h/d", "sqlite:///x.db"]
)
def test_a_database_elsewhere_is_refused(tmp_path: Path, database: str) -> None:
    with pytest.raises(ProjectError, match="PostgreSQL URL"):
        ProjectSettings.of(".", database)
    text = f"format = 1\nimages = '.'\ndatabase = '{database}'\n"
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(DamagedProjectError, match=FILE_NAME):
        ProjectSettings.read(tmp_path)
    assert (tmp_path / FILE_NAME).read_text() == text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"format = 1\nimages = '.'\n",
        b"format = 1\nimages = 3\ndatabase = 'a.db'\n",
        b"format = 0\nimages = '.'\ndatabase = 'a.db'\n",
        b"format = 1\nimages = '.'\ndatabase = 'a.db'\nimage = '.'\n",
        b"form",
        b"\xff\xfe\x00",
        b"format = 1\nimages = '.\n",
    ],
)
def test_damage_is_named_and_kept(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(DamagedProjectError, match=FILE_NAME) as caught:
        ProjectSettings.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / FILE_NAME).read_bytes() == data


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("format = 2\nimagery = 'cloud'\n")
    with pytest.raises(NewerSchemaError, match="update napari-graydet"):
        ProjectSettings.read(tmp_path)


def test_a_folder_without_settings_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not a project"):
        ProjectSettings.read(tmp_path)


def test_image_paths_are_relative_with_forward_slashes(tmp_path: Path) -> None:
    assert relative_image_path(tmp_path / "a" / "b.png", tmp_path) == "a/b.png"
    assert relative_image_path(Path("a/../b.png"), tmp_path) == "b.png"


@pytest.mark.parametrize("path", ["../b.png", "/etc/passwd", "a/../../b.png", "."])
def test_images_outside_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ProjectError):
        relative_image_path(Path(path), tmp_path / "images")


@pytest.mark.parametrize(
    "path",
    [
        "../b",
        "a/../../b",
        "/b",
        "",
        ".",
        "C:/b",
        "C:b",
        "\\\\h\\s\\b",
        "..\\b",
        "a\\..\\..\\b",
        "a\0",
    ],
)
def test_stored_paths_never_leave_the_folder_on_any_system(path: str) -> None:
    with pytest.raises(ProjectError, match="does not stay"):
        check_relative(path)


@given(texts)
def test_a_path_that_passes_stays_inside(path: str) -> None:
    root = Path("/data/images")
    try:
        check_relative(path)
    except ProjectError:
        return
    assert (root / path).is_relative_to(root) and ".." not in (root / path).parts
