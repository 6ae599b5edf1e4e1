"""``napari-graydet compare``: from folders to tables and a picture; bad input in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from napari_graydet.workflows.compare import methods
from napari_graydet.workflows.compare.methods import ComparedMethod
from tests.cli.runner import run
from tests.workflows.test_compare import Trainer, make_folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_folders(tmp_path_factory.mktemp("data"))


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Trainer]:
    """Thresholds in the place of two methods."""
    made = {"graydet": Trainer(135), "otsu": Trainer(180)}
    for name, trainer in made.items():
        monkeypatch.setitem(methods.METHODS, name, ComparedMethod("", trainer))
    return made


def asked(folders: tuple[Path, Path], out: Path, *more: object) -> list[object]:
    images, masks = folders
    return ["compare", "--images", images, "--masks", masks, "-o", out, *more]


def test_the_whole_way(
    folders: tuple[Path, Path], tmp_path: Path, trainers: dict[str, Trainer]
) -> None:
    options = ["--methods", "graydet,otsu", "--n", "2,4", "--patients", "p(..)_", "--json"]
    first = run(*asked(folders, tmp_path, *options))
    assert first.code == 0, first.err
    tables = first.document["tables"]
    assert [table["n"] for table in tables] == [2, 4]
    lines = {line["method"]: line for line in tables[1]["lines"]}
    assert lines["graydet"]["dice"]["mean"] > lines["otsu"]["dice"]["mean"]
    assert lines["otsu"]["gain"]["gain"]["mean"] > 0
    assert lines["otsu"]["seeds"] == [0, 1]
    assert [Path(name).name for name in first.document["files"]] == [
        "comparison.md",
        "comparison.json",
        "scores.csv",
        "cases.png",
    ]
    assert all(Path(name).is_file() for name in first.document["files"])
    again = run(*asked(folders, tmp_path, *options))
    assert again.document == first.document
    assert len(trainers["otsu"].asked) == 4


def test_text(folders: tuple[Path, Path], tmp_path: Path, trainers: dict[str, Trainer]) -> None:
    outcome = run(*asked(folders, tmp_path, "--methods", "graydet,otsu", "--seeds", 1))
    assert outcome.code == 0
    assert "Trained on 10 of train, tested on test (4 images of 4 patients" in outcome.out
    assert "otsu" in outcome.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "segnet"], "segnet"),
        (["--methods", "otsu", "--n", "0"], "--n"),
        (["--methods", "otsu", "--n", "99"], "between 1 and"),
        (["--methods", "otsu", "--test", "0"], "test"),
        (["--methods", "otsu", "--iterations", "2", "--minutes", "1"], "both"),
        (["--methods", "otsu", "--device", "warp"], "warp"),
        (["--methods", "otsu", "--minutes", "-1"], "0.01"),
        (["--methods", "otsu", "--reference", "unet"], "--reference among otsu"),
        (["--methods", "otsu", "--start", "nowhere.safetensors"], "no weights file"),
    ],
)
def test_bad_options(
    folders: tuple[Path, Path],
    tmp_path: Path,
    trainers: dict[str, Trainer],
    options: list[str],
    message: str,
) -> None:
    outcome = run(*asked(folders, tmp_path / "out", *options))
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert message in outcome.err
    assert not list((tmp_path / "out").rglob("*.json"))


def test_no_data() -> None:
    outcome = run("compare", "--images", "somewhere")
    assert outcome.code == 2
    assert "--masks" in outcome.err


def test_without_monai_it_says_what_to_install(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    options = ["--methods", "unet", "--iterations", 1, "--seeds", 1]
    outcome = run(*asked(folders, tmp_path, *options))
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert 'pip install "napari-graydet[baselines]"' in outcome.err
