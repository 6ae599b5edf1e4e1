"""A training run from its data to its registry entry, and everything that can go wrong with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from napari_graydet.errors import (
    CancelledError,
    DatasetError,
    GraydetError,
    MaskError,
    ModelError,
    ProjectError,
    WeightsError,
)
from napari_graydet.io.weights import WeightsCard, load_weights, save_weights
from napari_graydet.models.boxes.detector import BoxDetector
from napari_graydet.models.boxes.interval import KINDS, IntervalDetector
from napari_graydet.models.loading import load_box_detector
from napari_graydet.project import splits
from napari_graydet.project.model_registry import LOG_FILE, STOP_FILE, ModelRegistry
from napari_graydet.project.schema import State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows import dataset
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.models_in_use import predictor_of
from napari_graydet.workflows.training.events import event_of
from napari_graydet.workflows.training.job import PartJob
from napari_graydet.workflows.training.process import stop_signals
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.train import resume, train
from tests.models.learners import Tiny
from tests.workflows.projects import save, study, table_of
from tests.workflows.trainings import QuickPart, make_folders, quick

__all__ = ["quick"]

Event = dict[str, Any]


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    images, masks = make_folders(tmp_path / "data")
    return TrainRequest.of(parts="boxes", images=str(images), masks=str(masks), label="bone")


def stopping(registry: ModelRegistry, step: int) -> Any:
    """Put the stop file there when a step is told."""

    def on_event(event: Event) -> None:
        if event["event"] == "progress" and event["step"] >= step:
            registry.request_stop("0001")

    return on_event


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_graydet.workflows.training.events.LEAST_SECONDS", 0.0)


def test_a_run_tells_its_events_and_leaves_an_entry(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    events: list[Event] = []
    entry = train(request_, tmp_path, on_event=events.append)
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["start", "part"] and kinds[-1] == "done"
    assert kinds.count("progress") == 12 and kinds.count("validation") == 3
    assert events[0]["images"] == {"train": 5, "validation": 1}
    shares = [event["overall"] for event in events if event["event"] == "progress"]
    assert shares == sorted(shares) and shares[-1] == 1.0
    log = (tmp_path / "models" / "0001" / LOG_FILE).read_text().splitlines()
    assert events[0]["folder"] == str(tmp_path / "models" / "0001")
    without = [{k: v for k, v in event.items() if k != "folder"} for event in events]
    assert [event_of(line) for line in log] == without, "the log holds no path"
    again = ModelRegistry(tmp_path).entry("0001")
    assert again == entry and entry.status == "done" and entry.parents == {"boxes": "shipped"}
    assert entry.split is not None and not set(entry.split.train) & set(entry.split.validation)
    assert entry.data and entry.classes == ("bone",) and "torch" in entry.versions
    assert entry.machine["device"] == "cpu" and entry.machine["threads"] == torch.get_num_threads()
    assert set(entry.weights) == {"boxes"} and "score" in entry.scores["boxes"]
    assert not (tmp_path / "models" / "0001" / "work").exists()


def test_a_second_run_starts_from_what_is_in_use(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    train(request_, tmp_path, use=True)
    before = load_weights(ModelRegistry(tmp_path).weights_path("0001", "boxes"))[0]
    entry = train(request_, tmp_path)
    assert entry.id == "0002" and entry.parents == {"boxes": "0001"}
    after = load_weights(ModelRegistry(tmp_path).weights_path("0001", "boxes"))[0]
    assert all(np.array_equal(values, after[name]) for name, values in before.items())
    assert ModelRegistry(tmp_path).choices() == {"boxes": "0001"}


def test_stopped_within_a_batch_and_resumed_to_the_same_weights(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    registry = ModelRegistry(tmp_path / "a")
    for _ in range(2):
        with pytest.raises(CancelledError, match="resume it"):
            if not registry.entries():
                train(request_, tmp_path / "a", on_event=stopping(registry, 4))
            else:
                resume("0001", tmp_path / "a", on_event=stopping(registry, 8))
    assert quick.learners[0].steps == 3 and quick.learners[1].steps == 7
    entry = registry.entry("0001")
    assert entry.status == "cancelled" and not entry.weights
    assert not (registry.run_folder("0001") / STOP_FILE).exists()
    events: list[Event] = []
    done = resume("0001", tmp_path / "a", on_event=events.append)
    assert events[0]["resumed"] is True and done.status == "done"
    assert "other conditions" not in str(events), "all is as it was"
    whole = train(request_, tmp_path / "b")
    assert done.weights == whole.weights, "the SHA-256 of both files"
    with pytest.raises(ProjectError, match="is done"):
        resume("0001", tmp_path / "a")


def test_images_on_another_drive_are_found_again(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_drive(path: str, start: Path) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    with monkeypatch.context() as windows:
        windows.setattr("os.path.relpath", other_drive)
        registry = ModelRegistry(tmp_path / "models here")
        with pytest.raises(CancelledError):
            train(request_, tmp_path / "models here", on_event=stopping(registry, 4))
    assert registry.entry("0001").request["images"] == request_.images
    assert resume("0001", tmp_path / "models here").status == "done"


def test_a_run_that_goes_on_elsewhere_says_so(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    registry = ModelRegistry(tmp_path)
    with pytest.raises(CancelledError):
        train(request_, tmp_path, on_event=stopping(registry, 4))
    entry = registry.entry("0001")
    elsewhere = {"device": "cuda", "gpu": "Some GPU", "threads": entry.machine["threads"]}
    old = entry.versions | {"torch": "1.0"}
    registry.write(entry.model_copy(update={"machine": elsewhere, "versions": old}))
    events: list[Event] = []
    done = resume("0001", tmp_path, on_event=events.append)
    said = next(str(event["message"]) for event in events if event["event"] == "notice")
    assert "device cuda -> cpu, gpu Some GPU -> none" in said
    assert "torch 1.0 -> " in said and "threads" not in said
    assert done.machine == entry.machine and done.versions == entry.versions


def test_changed_data_cannot_be_gone_on_with(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    with pytest.raises(CancelledError):
        train(request_, tmp_path, on_event=stopping(ModelRegistry(tmp_path), 4))
    mask = tmp_path / "data" / "masks" / "p2.png"
    Image.fromarray(np.eye(50, dtype=np.uint8)[:40] * 255).save(mask)
    with pytest.raises(ProjectError, match="changed since model 0001 began"):
        resume("0001", tmp_path)


def test_an_image_that_is_labelled_meanwhile_waits_for_the_next_run(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    whole = train(request_, tmp_path / "whole")
    registry = ModelRegistry(tmp_path)
    with pytest.raises(CancelledError):
        train(request_, tmp_path, on_event=stopping(registry, 4))
    for kind in ("images", "masks"):
        old = tmp_path / "data" / kind / "p2.png"
        (old.parent / "p9.png").write_bytes(old.read_bytes()[:-1] + b"x")  # another patient
    done = resume("0001", tmp_path)
    assert done.weights == whole.weights and done.split == whole.split
    assert registry.entry("0001").data == whole.data


@pytest.mark.parametrize("seed", range(4))
def test_a_patient_is_never_on_both_sides(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart, seed: int
) -> None:
    people = {f"p{n}": n // 2 for n in range(6)}
    table = tmp_path / "patients.csv"
    lines = ["stem,patient", *(f"{name},{person}" for name, person in people.items())]
    table.write_text("\n".join(lines) + "\n")
    asked = request_.model_copy(update={"patients": str(table), "seed": seed, "validation": 0.3})
    split = train(asked, tmp_path).split
    assert split is not None
    sides = [{people[name] for name in side} for side in (split.train, split.validation)]
    assert all(sides) and not sides[0] & sides[1]


class Broken(Tiny):
    """Its loss is NaN from the sixth step on."""

    def loss(self) -> Tensor:
        return super().loss() * (float("nan") if self.steps >= 5 else 1.0)


def test_a_failed_run_is_marked_and_leaves_no_weights(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    train(request_, tmp_path, use=True)
    quick.learner = Broken
    events: list[Event] = []
    with pytest.raises(ModelError, match="became nan"):
        train(request_, tmp_path, on_event=events.append)
    assert events[-1]["event"] == "failed" and "nan" in events[-1]["message"]
    registry = ModelRegistry(tmp_path)
    entry = registry.entry("0002")
    assert entry.status == "failed" and entry.message is not None and not entry.weights
    assert not list(registry.run_folder("0002").glob("*.safetensors"))
    assert registry.choices() == {"boxes": "0001"}
    quick.learner = Tiny
    assert resume("0002", tmp_path).status == "done", "the checkpoint before it was kept"


def overwrite(folder: Path, name: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "masks" / f"{name}.png")


def _other_size(folder: Path) -> None:
    overwrite(folder, "p3", np.full((41, 50), 255))


def _all_covering(folder: Path) -> None:
    for number in range(6):
        overwrite(folder, f"p{number}", np.full((40, 50), 255))


def _all_empty(folder: Path) -> None:
    for number in range(6):
        overwrite(folder, f"p{number}", np.zeros((40, 50)))


def _all_tiny(folder: Path) -> None:
    for number in range(6):
        mask = np.zeros((40, 50))
        mask[20, 20:23] = 255
        overwrite(folder, f"p{number}", mask)


def patients(names: Iterable[str], each: int = 2) -> set[int]:
    return {int(name[5:-4]) // each for name in names}


@pytest.mark.parametrize("seed", range(3))
def test_a_project_keeps_the_rule_that_a_training_brought(
    tmp_path: Path, quick: QuickPart, seed: int
) -> None:
    project, table = study(tmp_path / "study"), table_of(tmp_path)
    asked = TrainRequest.of(
        parts="boxes", project=str(project), seed=seed, validation=0.4, patients=str(table)
    )
    events: list[Event] = []
    entry = train(asked, project, on_event=events.append)
    (told,) = [event["message"] for event in events if event["event"] == "notice"]
    assert "keeps this rule of patients from now on: 12 images of 6 patients" in told
    table.unlink()
    again = train(asked.model_copy(update={"patients": None}), project, on_event=events.append)
    assert sum(event["event"] == "notice" for event in events) == 1
    for run in (entry, again):
        assert run.split is not None
        assert not patients(run.split.train) & patients(run.split.validation)
        assert (len(run.split.train), len(run.split.validation)) == (8, 4)
        assert "patients" not in run.request
    for file in (project / "models").rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes(), file


def test_new_images_follow_their_patient_whose_first_is_in_work(
    tmp_path: Path, quick: QuickPart
) -> None:
    project, table = study(tmp_path / "study", 24), table_of(tmp_path, 24, each=4)
    with ProjectStore.open(project) as store:
        entries = store.entries()
        for number, entry in enumerate(entries):  # of each patient one is accepted
            set_state(store, entry.id, State.IN_WORK if number % 4 else State.ACCEPTED)
    asked = TrainRequest.of(
        parts="boxes", project=str(project), validation=0.4, patients=str(table)
    )
    first = train(asked, project).split
    assert first is not None and (len(first.train), len(first.validation)) == (4, 2)
    with ProjectStore.open(project) as store:
        for name in first.train:
            number = int(name[5:-4])
            set_state(store, entries[number].id, State.IN_WORK)
            for later in range(number + 1, number + 4):
                set_state(store, entries[later].id, State.ACCEPTED)
    split = train(asked.model_copy(update={"patients": None}), project).split
    assert split is not None and split.validation == first.validation
    assert len(split.train) == 12 and patients(split.train, 4) == patients(first.train, 4)


def set_state(store: ProjectStore, image_id: int, state: State) -> None:
    record, _ = store.annotation(image_id)
    save(store, image_id, record.model_copy(update={"state": state}))


def test_a_split_from_before_the_rule_is_told_of(tmp_path: Path, quick: QuickPart) -> None:
    project, table = study(tmp_path / "study"), table_of(tmp_path)
    asked = TrainRequest.of(parts="boxes", project=str(project), validation=0.5)
    before = train(asked, project).split
    assert before is not None
    with_rule = asked.model_copy(update={"patients": str(table)})
    held = patients(before.validation)
    torn = held & patients(before.train)
    assert torn and len(torn) < len(held)
    events: list[Event] = []
    after = train(with_rule, project, on_event=events.append).split
    _, told = [event["message"] for event in events if event["event"] == "notice"]
    assert told.startswith(f"{len(torn)} patient") and "too good" in told
    assert after is not None
    assert patients(after.validation) == held - torn


def test_where_nobody_is_held_out_any_more_the_way_on_is_told(
    tmp_path: Path, quick: QuickPart
) -> None:
    project, table = study(tmp_path / "study"), tmp_path / "who.csv"
    asked = TrainRequest.of(parts="boxes", project=str(project))
    split = train(asked, project).split
    assert split is not None
    held = {**dict.fromkeys(split.validation, "a"), split.train[0]: "a"}
    lines = [f"{name},{held.get(name, name)}\n" for name in (*split.train, *split.validation)]
    table.write_text("".join(lines))
    events: list[Event] = []
    with pytest.raises(
        DatasetError, match=r"and 0; accept .* delete splits\.json .*--start shipped"
    ):
        train(asked.model_copy(update={"patients": str(table)}), project, on_event=events.append)
    assert "keeps this rule of patients" in str(events[0]["message"])  # it stays nevertheless


def test_a_bad_rule_is_refused_before_a_run(tmp_path: Path, quick: QuickPart) -> None:
    project = study(tmp_path / "study", 4)
    settings = (project / "graydet.toml").read_bytes()
    for rule, match in (("(", "regular expression"), ("^(x)", "none for 4"), ("no.csv", "no.csv")):
        asked = TrainRequest.of(parts="boxes", project=str(project), patients=rule)
        with pytest.raises(DatasetError, match=match) as raised:
            train(asked, project)
        assert "\n" not in str(raised.value)
    assert (project / "graydet.toml").read_bytes() == settings
    assert ModelRegistry(project).entries() == [] and not quick.learners


def test_signals_are_a_wish_to_stop_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for number in (signal.SIGTERM, signal.SIGINT):
        with stop_signals() as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            assert stop()
    with pytest.raises(KeyboardInterrupt), stop_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert after == before


def test_an_interrupted_training_can_be_resumed(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    """A second Ctrl-C ends it wherever it is."""

    def interrupt(event: Event) -> None:
        if event["event"] == "progress" and event["step"] == 4:
            raise KeyboardInterrupt

    registry = ModelRegistry(tmp_path)
    with pytest.raises((KeyboardInterrupt, CancelledError)):
        train(request_, tmp_path, on_event=interrupt)
    assert registry.entry("0001").status == "cancelled"
    assert resume("0001", tmp_path).status == "done"


def test_stopped_while_the_images_of_a_resumed_run_are_read(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = ModelRegistry(tmp_path)
    with pytest.raises(CancelledError):
        train(request_, tmp_path, on_event=stopping(registry, 5))
    registry.request_stop("0001")  # of its last life: it means nothing any more
    read = dataset.from_folders

    def reading(*given: Any, **named: Any) -> Dataset:
        if not stopped:
            stopped.append(registry.is_to_stop("0001"))
            registry.request_stop("0001")  # from the window, meanwhile
        return read(*given, **named)

    stopped: list[bool] = []
    monkeypatch.setattr(dataset, "from_folders", reading)
    with pytest.raises(CancelledError):
        resume("0001", tmp_path)
    assert stopped == [False] and registry.entry("0001").status == "cancelled"
    assert resume("0001", tmp_path).status == "done"


def test_held_out_images_without_an_object_judge_nothing(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    held_out = train(request_, tmp_path).split.validation
    for name in held_out:
        overwrite(tmp_path / "data", name, np.zeros((40, 50)))
    with pytest.raises(DatasetError, match=f"none of the 1 has one .such as {held_out[0]}"):
        train(request_, tmp_path)
    assert len(ModelRegistry(tmp_path).entries()) == 1


def leave(project: Path, paths: Sequence[str], labels: tuple[str, ...]) -> None:
    """Leave only some labels in images of a project."""
    with ProjectStore.open(project) as store:
        for entry in store.entries():
            if entry.path in paths:
                record, _ = store.annotation(entry.id)
                left = {
                    "rois": tuple(roi for roi in record.rois if roi.label in labels),
                    "boxes": tuple(box for box in record.boxes if box.label in labels),
                    "residual": {k: v for k, v in record.residual.items() if k in labels},
                }
                save(store, entry.id, record.model_copy(update=left))


def test_a_project_holds_out_something_to_judge_by(tmp_path: Path, quick: QuickPart) -> None:
    project = study(tmp_path / "study", 8)
    asked = TrainRequest.of(parts="boxes", project=str(project))
    drawn = train(asked, project).split.validation
    leave(project, drawn, ())  # "nothing here"
    with pytest.raises(DatasetError, match=r"delete splits\.json"):
        train(asked, project)
    (project / splits.FILE_NAME).unlink()
    entry = train(asked.model_copy(update={"start": ("shipped",)}), project)
    assert not set(entry.split.validation) <= set(drawn)
    only = asked.model_copy(update={"classes": ("bone",)})
    assert train(only, project).status == "done"


def test_a_project_holds_out_something_of_the_classes_that_are_asked_for(
    tmp_path: Path, quick: QuickPart
) -> None:
    project = study(tmp_path / "study", 8)
    asked = TrainRequest.of(parts="boxes", project=str(project), start="shipped")
    drawn = train(asked, project).split.validation
    (project / splits.FILE_NAME).unlink()
    leave(project, drawn, ("lung",))
    entry = train(asked.model_copy(update={"classes": ("bone",)}), project)
    assert not set(entry.split.validation) <= set(drawn)


def test_a_class_that_is_not_held_out_is_told(tmp_path: Path, quick: QuickPart) -> None:
    project = study(tmp_path / "study", 8)
    asked = TrainRequest.of(parts="boxes", project=str(project))
    held_out = train(asked, project).split.validation
    leave(project, held_out, ("bone",))
    events: list[Event] = []
    train(asked, project, on_event=events.append)
    told = [str(e.get("message")) for e in events]
    assert "No held-out image has lung: there the new model is not judged." in told


def test_an_accepted_image_that_is_gone_is_left_out_with_a_notice(
    tmp_path: Path, quick: QuickPart
) -> None:
    project = study(tmp_path / "study", 8)
    asked = TrainRequest.of(parts="boxes", project=str(project))
    first = train(asked, project)
    gone = first.split.train[0]
    (project / gone).unlink()
    events: list[Event] = []
    entry = train(asked, project, on_event=events.append)
    told = [str(e["message"]) for e in events if e["event"] == "notice"]
    assert any(f"1 accepted image is not there and left out, such as {gone}" in t for t in told)
    assert gone not in entry.split.train and entry.split.validation == first.split.validation
    for path in project.glob("*.png"):
        path.unlink()
    with pytest.raises(DatasetError, match="None of the 8 accepted images is there"):
        train(asked, project)


def _one_image(folder: Path) -> None:
    for number in range(1, 6):
        (folder / "images" / f"p{number}.png").unlink()


def _unlabelled(folder: Path) -> None:
    for number in range(6):
        (folder / "masks" / f"p{number}.png").rename(folder / "masks" / f"q{number}.png")


@pytest.mark.parametrize(
    ("spoil", "error", "match"),
    [
        (_other_size, MaskError, "p3"),
        (_all_covering, DatasetError, "cover their whole image"),
        (_all_empty, DatasetError, "none of the 5 has bone"),
        (_all_tiny, DatasetError, "at least 16 pixels and 0.1%.* draw an ROI"),
        (_one_image, DatasetError, "at least 2 patients"),
        (_unlabelled, DatasetError, "stem"),
    ],
)
def test_bad_data_are_one_line_and_no_run(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart, spoil: Any, error: Any, match: str
) -> None:
    spoil(tmp_path / "data")
    with pytest.raises(error, match=match) as raised:
        train(request_, tmp_path)
    assert "\n" not in str(raised.value)
    assert ModelRegistry(tmp_path).entries() == []
    assert not quick.learners


def test_starts_that_do_not_fit_are_refused_before_a_run(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    roi = tmp_path / "roi.safetensors"
    save_weights(roi, {"w": np.zeros(2)}, WeightsCard(kind="roi", architecture="a", classes=["b"]))
    for start, error in (
        ("nothing.safetensors", WeightsError),
        (str(roi), WeightsError),
        ("0007", ProjectError),
        (str(tmp_path / "data" / "masks" / "p0.png"), WeightsError),
    ):
        with pytest.raises(error):
            train(request_.model_copy(update={"start": (start,)}), tmp_path)
    assert ModelRegistry(tmp_path).entries() == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"images": "a"},
        {"project": "p", "images": "a", "masks": "b"},
        {"project": "p", "epochs": 1.0, "minutes": 1.0},
        {"project": "p", "epochs": -1.0},
        {"project": "p", "preset": "slow"},
        {"project": "p", "seed": -1},
    ],
)
def test_requests_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="Training"):
        TrainRequest.of(**values)


def test_unknown_parts_and_pairs_of_one_kind_are_refused(request_: TrainRequest) -> None:
    for parts, match in (("rois", "Expected parts among"), ("boxes,regressor", "boxes alone")):
        with pytest.raises(ModelError, match=match):
            train(request_.model_copy(update={"parts": parts}), Path("nowhere"))


def test_a_project_uses_its_models_and_never_a_damaged_one(
    tmp_path: Path, request_: TrainRequest, quick: QuickPart
) -> None:
    train(request_, tmp_path, use=True)
    path = ModelRegistry(tmp_path).weights_path("0001", "boxes")
    with pytest.raises(WeightsError, match="tiny"):
        _ = predictor_of(tmp_path).box_detector  # it did take the project's own, which is no net
    assert predictor_of(None).box_detector.name.startswith("pointnet")
    path.write_bytes(b"x")
    with pytest.raises(GraydetError, match="damaged"):
        predictor_of(tmp_path)


def test_a_simple_rival_that_does_better_takes_the_networks_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, masks = make_folders(tmp_path / "data")
    request = TrainRequest.of(
        parts="boxes", images=str(images), masks=str(masks), label="bone", epochs=0.5
    )
    events: list[Event] = []
    monkeypatch.setattr("napari_graydet.models.boxes.choice.SPREAD", -1.0)  # any rival is ahead
    entry = train(request, tmp_path, on_event=events.append)
    (notice,) = (event["message"] for event in events if event["event"] == "notice")
    assert "finds gray ranges better" in notice and entry.notes == {"boxes": notice}
    scores = entry.scores["boxes"]
    used = load_box_detector(ModelRegistry(tmp_path).weights_path("0001", "boxes"))
    assert isinstance(used, IntervalDetector)
    assert scores["share of the ceiling"] == scores[f"share of the ceiling, {used.model.kind}"]
    assert {f"share of the ceiling, {name}" for name in (*KINDS, "pointnet")} < set(scores)

    ModelRegistry(tmp_path).activate("0001")
    monkeypatch.setattr("napari_graydet.models.boxes.choice.SPREAD", 1.0)  # none is
    again = train(request, tmp_path)
    assert again.parents == {"boxes": "0001"} and not again.notes
    assert again.parent_scores["boxes"]["share of the ceiling"] == scores["share of the ceiling"]
    network = load_box_detector(ModelRegistry(tmp_path).weights_path("0002", "boxes"))
    assert isinstance(network, BoxDetector)


def test_held_out_images_are_given_until_somebody_asks_to_stop(tmp_path: Path) -> None:
    wishes = iter([False, False, True])
    nothing = Dataset((), ("bone",))
    job = PartJob(
        train=nothing, validation=nothing, classes=("bone",), preset="fast", seed=0, start=None,
        out=tmp_path / "w", checkpoints=tmp_path / "c", tell=lambda *_, **__: None,
        should_cancel=lambda: next(wishes),
    )  # fmt: skip
    watched, seen = job.watched("abcd"), list[str]()
    assert len(watched) == 4
    with pytest.raises(CancelledError):
        for one in watched:
            seen.append(one)
    assert seen == ["a", "b"]
