"""Trainings as the window sees them, with work that is held back: what arrives late."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_graydet.errors import ModelError
from napari_graydet.gui.control import training as training_module
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.training import Training
from napari_graydet.gui.control.training_run import Curve, Run
from napari_graydet.gui.panels.curve import CurveView
from napari_graydet.project.model_registry import ModelRegistry
from tests.gui.fakes import InlineJobs, make_controller, make_folder

LOSS = {"loss": 0.1}


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    made = make_controller(make_folder(tmp_path / "a"))
    yield made
    made.close()


@pytest.fixture
def training(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Training:
    def compared(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(run_id="0001")

    monkeypatch.setattr(training_module, "compare_models", compared)
    made = Training(controller, lambda: "cpu")
    made._project_changed()
    return made


def jobs_of(controller: Controller) -> InlineJobs:
    assert isinstance(controller.jobs, InlineJobs)
    return controller.jobs


def take_held(jobs: InlineJobs) -> list[Any]:
    held, jobs.held = jobs.held, []
    return held


def test_a_comparison_does_not_arrive_in_another_project(
    training: Training, controller: Controller, tmp_path: Path
) -> None:
    jobs = jobs_of(controller)
    jobs.hold = True
    training.compare("0001")
    of_a = take_held(jobs)
    jobs.hold = False
    controller.open_folder(make_folder(tmp_path / "b"))
    assert (training.phase, training.comparing) == ("idle", None)
    jobs.hold = True
    training.start(["roi"], "fast")
    for arrives in of_a:
        arrives()
    assert training.phase == "running", "the training in b goes on, and can be stopped"
    assert training.comparison is None


@pytest.mark.parametrize("ends", ["it ended", "it failed"])
def test_a_training_does_not_end_in_another_project(
    training: Training, controller: Controller, tmp_path: Path, ends: str
) -> None:
    def follow(*_: Any) -> Any:
        if ends == "it failed":
            raise ModelError("of a")
        return {"event": "done", "run": "0001"}

    training._follow = follow  # type: ignore[method-assign]
    jobs = jobs_of(controller)
    jobs.hold = True
    training.start(["roi"], "fast")
    of_a = take_held(jobs)
    jobs.hold = False
    controller.open_folder(make_folder(tmp_path / "b"))
    jobs.hold = True
    training.start(["roi"], "fast")
    for arrives in of_a:
        arrives()
    assert (training.phase, training.note) == ("running", None)


def test_nothing_starts_before_a_choice_is_made(
    training: Training, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelRegistry, "roll_back", lambda _: {})
    jobs = jobs_of(controller)
    jobs.hold = True
    training.roll_back()
    training.start(["roi"], "fast")
    training.roll_back()
    assert training.phase == "choosing" and len(jobs.held) == 1
    jobs.release()
    assert training.phase == "idle"


def test_a_choice_that_fails_leaves_the_question_open(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ModelError("the weights are damaged")

    monkeypatch.setattr(ModelRegistry, "activate", refuse)
    training.compare("0001")
    assert training.phase == "deciding"
    training.use("0001")
    assert training.phase == "deciding" and training.comparison is not None
    assert training.note is not None and "damaged" in training.note.text
    training.keep()
    assert training.phase == "idle"


def test_networks_of_one_part_have_curves_of_their_own() -> None:
    run = Run()
    told = [(0.2, "unet DSC", 0.96), (0.45, "unet DSC", 0.97), (0.7, "scene DSC", 0.93)]
    for share, name, value in told:
        run.take({"event": "progress", "part": "refiner", "share": share, "overall": share} | LOSS)
        run.take(
            {"event": "validation", "part": "refiner", "share": share, "scores": {name: value}}
        )
    curve = run.curves["refiner"]
    assert curve.scores == {"unet DSC": [(0.2, 0.96), (0.45, 0.97)], "scene DSC": [(0.7, 0.93)]}
    assert (curve.score_name, curve.score) == ("scene DSC", [(0.7, 0.93)])


def test_the_best_in_a_caption_is_that_of_the_network_it_names(qapp: object) -> None:
    view, curve = CurveView(), Curve("refiner")
    curve.add_loss(0.7, 0.1)
    curve.scores = {"unet DSC": [(0.2, 0.97)], "scene DSC": [(0.7, 0.93), (0.8, 0.92)]}
    view.show_curve(curve)
    assert "held-out scene DSC 0.920, best 0.930" in view.caption()
    assert "overlap of the refined masks" in view.toolTip()


def test_nothing_else_begins_while_a_model_is_deleted(
    training: Training, controller: Controller
) -> None:
    jobs = jobs_of(controller)
    jobs.hold = True
    training.delete("0001")
    training.start(["roi"], "fast")
    training.use("0001")
    assert training.phase == "choosing" and training.run is None
    jobs.release()
    assert training.phase == "idle" and "no model" in training.note.text
