"""`evaluate` on folders and projects, and its errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.models import loading
from napari_graydet.project import splits
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.dataset import from_project
from tests.cli.runner import Outcome, run, use_detectors
from tests.workflows.fakes import FakeRois, proposal
from tests.workflows.folders import make_folders, save, truth
from tests.workflows.projects import fill, make_project


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    use_detectors(monkeypatch, [proposal(11, 9, 41, 31)])
    images, masks = make_folders(tmp_path, 10)
    return ("--images", str(images), "--masks", str(masks), "--label", "bone")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_detectors(monkeypatch, [proposal(2.5, 3, 25, 36)])
    store = make_project(tmp_path / "study")
    fill(store)
    store.close()
    return tmp_path / "study"


def images_of(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [row["image"] for row in outcome.document["rows"]]


def test_folders_as_text_json_and_file(folders: tuple[str, ...], tmp_path: Path) -> None:
    text = run("evaluate", *folders, "--limit", 3)
    assert (text.code, text.err) == (0, "")
    assert "3 images" in text.out and "IoU / ceiling" in text.out
    outcome = run("evaluate", *folders, "--json", "-o", tmp_path / "r.csv")
    assert images_of(outcome) == [f"a{n}" for n in range(10)]
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert [float(row["iou"]) for row in rows] == [r["iou"] for r in outcome.document["rows"]]


def test_sides_of_folders_are_those_that_training_draws(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    drawn = splits.by_patient(
        {f"a{n}": f"a{n}" for n in range(10)}, seed=4, validation=0.15, test=0.3
    )
    for side in ("train", "validation", "test"):
        outcome = run(
            "evaluate", *folders, "--split", side, "--seed", 4, "--shares", "0.15,0.3", "--json"
        )
        assert images_of(outcome) == sorted(drawn.side(side))
        assert outcome.document["split"] == side
    table = tmp_path / "patients.csv"
    table.write_text("".join(f"a{n},p{n % 2}\n" for n in range(10)))
    held = images_of(
        run("evaluate", *folders, "--split", "validation", "--patients", table, "--json")
    )
    assert held in [[f"a{n}" for n in range(10) if n % 2 == odd] for odd in (0, 1)]


def test_label_ids(folders: tuple[str, ...], tmp_path: Path) -> None:
    for path in Path(folders[3]).iterdir():
        save(path, truth() * np.uint8(2))
    outcome = run("evaluate", *folders[:4], "--classes", "lung, bone", "--json")
    assert set(outcome.document["labels"]) == {"lung", "bone"}
    assert outcome.document["labels"]["bone"]["iou"]["mean"] > 0.5
    lung = outcome.document["labels"]["lung"]["iou"]
    assert (lung["mean"], lung["n"]) == (None, 0), "neither there nor found: in no mean"
    assert outcome.document["nothing"] == 10
    assert outcome.document["all"]["iou"] == outcome.document["labels"]["bone"]["iou"]
    said = run("evaluate", *folders[:4], "--classes", "lung, bone").out
    assert "nothing found, and in no mean: 10" in said


def test_true_rois(folders: tuple[str, ...]) -> None:
    outcome = run("evaluate", *folders, "--true-rois", "--limit", 2, "--json")
    assert outcome.document["true_rois"]
    assert outcome.document["all"]["loss_roi"]["mean"] == 0
    assert "true ROIs" in run("evaluate", *folders, "--true-rois", "--limit", 1).out


def test_a_project_with_and_without_a_split(project: Path) -> None:
    everything = run("evaluate", project, "--json")
    assert len(set(images_of(everything))) == 3
    assert everything.document["split"] == "all"
    early = run("evaluate", project, "--split", "validation")
    assert (early.code, len(early.error_lines)) == (2, 1)
    with ProjectStore.open(project) as store:
        data = from_project(store)
    split = splits.frozen(project, data.patients, seed=0)
    held_out = run("evaluate", project, "--json")
    assert set(images_of(held_out)) == set(split.validation)
    assert held_out.document["split"] == "validation"
    assert held_out.document["data"] == data.subset(split.validation).digest
    assert set(images_of(run("evaluate", project, "--split", "train", "--json"))) == set(
        split.train
    )
    none = run("evaluate", project, "--split", "test")
    assert (none.code, len(none.error_lines)) == (2, 1)


@pytest.mark.parametrize(
    "options", [("--label", "lung"), ("--classes", "bone"), ("--shares", "0.3,0"), ("--seed", "1")]
)
def test_options_of_folders_are_refused_for_a_project(
    project: Path, options: tuple[str, ...]
) -> None:
    outcome = run("evaluate", project, *options)
    assert outcome.code == 2 and "folders; a project" in outcome.err


def test_a_project_has_its_own_rule_of_patients(project: Path, tmp_path: Path) -> None:
    for verb in ("evaluate", "compare"):
        outcome = run(verb, project, "--patients", "(.)$", "-o", tmp_path / "out.json")
        assert (outcome.code, len(outcome.error_lines)) == (2, 1)
        assert "keeps its own rule of patients (none yet)" in outcome.err
    with ProjectStore.open(project) as store:
        store.set_patients("(.)$")
    assert run("evaluate", project, "--patients", "(.)$", "--json").code == 0
    assert "keeps its own rule" in run("evaluate", project, "--patients", "^(.)").err


def test_a_bad_image_is_named_and_the_others_go_on(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    save(Path(folders[3]) / "a1.png", truth()[1:])
    outcome = run("evaluate", *folders, "--json", "-o", tmp_path / "r.json")
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1 and "a1" in outcome.err
    assert len(outcome.document["rows"]) == 10
    assert json.loads((tmp_path / "r.json").read_text()) == outcome.document


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate",),
        ("evaluate", "--images", "x"),
        ("evaluate", "--masks", "x"),
        ("evaluate", "nowhere"),
        ("evaluate", "nowhere", "--images", "x", "--masks", "y"),
        ("evaluate", "--images", "nowhere", "--masks", "nowhere else"),
    ],
)
def test_nothing_to_evaluate(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    use_detectors(monkeypatch, [])
    outcome = run(*arguments)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--out", "r.xlsx"),
        ("--split", "test"),
        ("--split", "elsewhere"),
        ("--split", "test", "--shares", "0.5,0.5"),
        ("--split", "test", "--shares", "many"),
        ("--shares", "many"),
        ("--shares", "0.9,0.9"),
        ("--model", "0001"),
        ("--patients", "("),
        ("--patients", "nowhere.csv"),
        ("--label", "tooth"),
        ("--classes", "bone"),
        ("--limit", "0"),
        ("--refiner", "nowhere.safetensors"),
    ],
)
def test_bad_options(folders: tuple[str, ...], options: tuple[str, ...], tmp_path: Path) -> None:
    outcome = run("evaluate", *folders, *options)
    assert outcome.code == 2, outcome.out
    assert "--classes" in options or len(outcome.error_lines) == 1
    assert not (tmp_path / "r.xlsx").exists()


@pytest.fixture
def without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Folders whose masks are of no named class; only the ROI detector is a fake."""
    found = FakeRois([proposal(11, 9, 41, 31)], labels=("bone",))
    monkeypatch.setattr(loading, "load_roi_detector", lambda *_, **__: found)
    images, masks = make_folders(tmp_path, 3)
    return ("--images", str(images), "--masks", str(masks))


def test_a_rule_for_any_class_counts_for_masks_without_one(without_names: tuple[str, ...]) -> None:
    outcome = run("evaluate", *without_names, "--box-weights", "otsu", "--json")
    assert outcome.code == 0, outcome.err
    (dice,) = {row["dice"] for row in outcome.document["rows"]}
    assert dice > 0.5


def test_a_rule_that_does_not_exist(without_names: tuple[str, ...]) -> None:
    outcome = run("evaluate", *without_names, "--box-weights", "osu")
    assert (outcome.code, len(outcome.error_lines)) == (2, 1)
    assert "no weights file osu" in outcome.err


def test_masks_are_not_written_among_the_truth(folders: tuple[str, ...]) -> None:
    truth = Path(folders[folders.index("--masks") + 1])
    before = sorted(truth.iterdir())
    outcome = run("evaluate", *folders, "--write-masks", truth)
    assert outcome.code == 2 and "true masks" in outcome.err
    assert sorted(truth.iterdir()) == before


def test_another_model_of_a_project(project: Path) -> None:
    outcome = run("evaluate", project, "--model", "0007")
    assert (outcome.code, len(outcome.error_lines)) == (2, 1)
