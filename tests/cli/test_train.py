"""The verbs train and models: JSON lines, exit codes, and a process that stops within a batch."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.training.process import TrainProcess
from tests.cli.runner import Outcome, run
from tests.workflows.projects import study, table_of
from tests.workflows.trainings import QuickPart, make_folders, quick

__all__ = ["quick"]


@pytest.fixture
def source(tmp_path: Path) -> list[object]:
    images, masks = make_folders(tmp_path / "data")
    return ["--images", images, "--masks", masks, "--label", "bone"]


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_events_and_the_entry_are_lines_of_json(
    tmp_path: Path, source: list[object], quick: QuickPart
) -> None:
    outcome = run("train", "boxes", *source, "-o", tmp_path, "--json", "--use")
    assert outcome.code == 0, outcome.err
    *events, entry = lines(outcome)
    assert [e["event"] for e in (events[0], events[-1])] == ["start", "done"]
    assert entry["id"] == "0001" and entry["status"] == "done"
    listed = run("models", "list", tmp_path, "--json").document
    assert listed["active"] == {"boxes": "0001"} and listed["models"][0]["active"] == ["boxes"]
    assert "in use: boxes" in run("models", "list", tmp_path).out


def test_a_project_keeps_the_patients(tmp_path: Path, quick: QuickPart) -> None:
    project, table = study(tmp_path / "study", 8), table_of(tmp_path, 8)
    outcome = run("train", "boxes", project, "--patients", table, "--json")
    assert outcome.code == 0, outcome.err
    (told,) = [e["message"] for e in lines(outcome) if e.get("event") == "notice"]
    assert "keeps this rule of patients from now on: 8 images of 4 patients" in told
    assert 'patients = "patients.csv"' in (project / "graydet.toml").read_text()
    bad = run("train", "boxes", project, "--patients", "(")
    assert (bad.code, len(bad.error_lines)) == (2, 1)


def test_models_are_used_and_rolled_back(
    tmp_path: Path, source: list[object], quick: QuickPart
) -> None:
    for _ in range(2):
        text = run("train", "boxes", *source, "-o", tmp_path)
        assert text.code == 0 and "Use it: napari-graydet models use" in text.out
    assert "5 images, 1 held out" in text.err
    for model in ("0001", "0002"):
        assert run("models", "use", tmp_path, model).code == 0
    assert run("models", "rollback", tmp_path, "--json").document["active"] == {"boxes": "0001"}
    assert run("models", "rollback", tmp_path, "--json").document["active"] == {}
    outcome = run("models", "rollback", tmp_path)
    assert outcome.code == 2 and len(outcome.error_lines) == 1
    for arguments in (("use", tmp_path), ("list", tmp_path, "0001"), ("list", tmp_path / "no")):
        outcome = run("models", *arguments)
        assert outcome.code == 2 and len(outcome.error_lines) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense", "--images", "data/images", "--masks", "data/masks"],
        ["boxes", "--images", "data/images"],
        ["boxes", "--images", "data/images", "--masks", "nowhere"],
        ["boxes", "nowhere"],
        ["boxes"],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--classes", "lung"],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--start", "0003"],
        ["boxes", "--resume", "0003"],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--minutes", "inf"],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--label", ""],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--label", "a,b"],
        ["boxes", "nowhere", "--label", "bone"],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--epochs", "nan"],
        ["boxes", "--images", "data/images", "--masks", "data/masks", "--device", "tpu"],
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    source: list[object],
    quick: QuickPart,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    out = [] if arguments == ["boxes"] or "nowhere" in arguments[1:2] else ["-o", "out"]
    outcome = run("train", *arguments, *out)
    assert outcome.code == 2 and len(outcome.error_lines) == 1, outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--minutes", "-1"],
        ["--epochs", "0"],
        ["--epochs", "nan"],
        ["--epochs", "1", "--minutes", "1"],
        ["--seed", "99999999999999999999"],
        ["--device", "tpu"],
    ],
)
def test_pretraining_is_asked_for_what_there_is(tmp_path: Path, arguments: list[str]) -> None:
    np.savez(tmp_path / "shapes.npz", x_train=np.zeros((2, 9, 3)))
    outcome = run("pretrain", "pointnet", tmp_path / "shapes.npz", "-o", tmp_path / "w", *arguments)
    assert outcome.code == 2 and len(outcome.error_lines) == 1, outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["shapes.npz"]


@pytest.mark.long
def test_a_process_is_cancelled_within_a_batch_and_resumed(
    tmp_path: Path, source: list[object]
) -> None:
    arguments = ["boxes", *map(str, source), "-o", str(tmp_path), "--epochs", "40"]
    process = TrainProcess(arguments)
    asked, ended = 0.0, []
    for event in process.events():
        if event["event"] == "progress" and not asked:
            asked = time.monotonic()
            process.cancel()
        ended.append(event["event"])
    assert ended[-1] == "cancelled" and not process.is_running
    print(f"cancelled after {time.monotonic() - asked:.2f} s")
    process = TrainProcess(["boxes", "-o", str(tmp_path), "--resume", "0001"])
    assert [e["event"] for e in process.events()][-1] == "done"
    assert ModelRegistry(tmp_path).entry("0001").status == "done"


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    process = TrainProcess(["boxes", "--images", tmp_path / "none", "--masks", tmp_path])
    events = list(process.events())
    assert [e["event"] for e in events] == ["failed"]
    assert "Give a project, or --images" in events[0]["message"]
    process.close()


def test_a_model_that_is_gone_is_told_and_the_shipped_one_is_used_again(
    tmp_path: Path, source: list[object], quick: QuickPart
) -> None:
    for _ in range(2):
        assert run("train", "boxes", *source, "-o", tmp_path, "--use").code == 0
    assert run("models", "delete", tmp_path, "0002").code == 2
    shutil.rmtree(tmp_path / "models" / "0002")
    listed = run("models", "list", tmp_path)
    assert "0001" in listed.out and "model 0002: Its folder is gone" in listed.err
    assert run("models", "use", tmp_path, "shipped", "--json").document["active"] == {}
    assert run("models", "list", tmp_path).err == ""
    assert run("models", "delete", tmp_path, "0001").code == 0
    assert "shipped ones are used" in run("models", "list", tmp_path).out
    entry = ModelRegistry(tmp_path).begin(["boxes"], preset="fast", seed=0, request={}, versions={})
    assert "interrupted" in run("models", "list", tmp_path).out  # nobody is at it
    assert run("models", "delete", tmp_path, entry.id, "--kind", "roi").code == 2
