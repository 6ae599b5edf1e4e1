"""The registry of models: nothing is overwritten, nothing damaged is used, one can go back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.errors import DamagedProjectError, NewerSchemaError, ProjectError
from napari_graydet.io.lock import exclusive
from napari_graydet.io.weights import SHIPPED, WeightsCard, save_weights
from napari_graydet.project import model_registry as models
from napari_graydet.project.model_choices import ACTIVE_FILE
from napari_graydet.project.model_entry import ModelEntry
from napari_graydet.project.model_registry import (
    DELETED_FILE,
    LOCK_FILE,
    RUN_FILE,
    ModelRegistry,
)


def begin(registry: ModelRegistry, preset: str = "fast") -> ModelEntry:
    return registry.begin(["roi"], preset=preset, seed=1, request={"a": 1}, versions={"torch": "2"})


def done(registry: ModelRegistry, *kinds: str, preset: str = "fast") -> str:
    entry = begin(registry, preset)
    for kind in kinds:
        card = WeightsCard(kind=kind, architecture="a", classes=["bone"])  # type: ignore[arg-type]
        values = np.full(3, int(entry.id), np.float32)
        save_weights(registry.weights_path(entry.id, kind), {"w": values}, card)
    return registry.end(entry, "done").id


def test_every_run_is_a_new_entry_and_reads_back(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    assert registry.entries() == [] and registry.active("roi") is None
    first, second = begin(registry), begin(registry)
    assert (first.id, second.id) == ("0001", "0002")
    registry.end(first, "failed", "no luck")
    again = ModelRegistry(tmp_path).entries()
    assert [e.status for e in again] == ["failed", "running"]
    assert again[0].message == "no luck" and again[0].ended is not None
    assert again[1] == second


def test_use_and_go_back(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    a, b = done(registry, "roi", "boxes"), done(registry, "boxes")
    assert registry.activate(a) == {"roi": a, "boxes": a}
    assert registry.activate(b) == {"roi": a, "boxes": b}
    assert registry.activate(b) == {"roi": a, "boxes": b}  # twice is once
    assert registry.active_weights("boxes") == registry.weights_path(b, "boxes")
    assert ModelRegistry(tmp_path).roll_back() == {"roi": a, "boxes": a}
    assert registry.roll_back() == {}
    assert registry.active_weights("roi") is None
    with pytest.raises(ProjectError, match="nothing to roll back"):
        registry.roll_back()
    assert registry.activate(a, ["roi"]) == {"roi": a}


def test_boxes_of_the_paper_go_without_a_refiner(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    fast = done(registry, "boxes", "refiner")
    registry.activate(fast)
    assert registry.activate(done(registry, "roi", preset="paper"))["refiner"] == fast
    paper = done(registry, "boxes", preset="paper")
    choices = registry.activate(paper)
    assert choices["boxes"] == paper and "refiner" not in choices
    assert registry.roll_back()["refiner"] == fast


@pytest.mark.parametrize("status", ["running", "failed", "cancelled"])
def test_what_did_not_end_well_is_never_used(tmp_path: Path, status: str) -> None:
    registry = ModelRegistry(tmp_path)
    entry = begin(registry)
    card = WeightsCard(kind="roi", architecture="a", classes=["bone"])
    save_weights(registry.weights_path(entry.id, "roi"), {"w": np.zeros(3)}, card)
    if status != "running":
        assert registry.end(entry, status).weights == {}  # type: ignore[arg-type]
    with pytest.raises(ProjectError, match=f"is {status} and has no weights"):
        registry.activate(entry.id)
    with pytest.raises(ProjectError, match="no model '0009'"):
        registry.activate("0009")
    assert not (registry.folder / ACTIVE_FILE).exists()


def test_damaged_weights_are_refused_now_and_later(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    a, b = done(registry, "roi"), done(registry, "roi")
    registry.activate(a)
    registry.activate(b)
    weights = registry.weights_path(a, "roi")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DamagedProjectError, match="damaged"):
        registry.activate(a)
    with pytest.raises(DamagedProjectError, match="damaged"):
        registry.roll_back()
    assert registry.choices() == {"roi": b}, "what is in use stays"
    registry.weights_path(b, "roi").unlink()
    with pytest.raises(ProjectError):
        registry.active_weights("roi")


def test_weights_of_another_run_are_noticed(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    a, b = done(registry, "roi"), done(registry, "roi")
    for suffix in (".safetensors", ".json"):
        source = registry.weights_path(a, "roi").with_suffix(suffix)
        registry.weights_path(b, "roi").with_suffix(suffix).write_bytes(source.read_bytes())
    with pytest.raises(DamagedProjectError, match="not the one that the run ended with"):
        registry.activate(b)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"history": 3}', "\0" * 50])
def test_damaged_files_are_named_and_kept(tmp_path: Path, text: str) -> None:
    registry = ModelRegistry(tmp_path)
    a, b = done(registry, "roi"), done(registry, "roi")
    registry.activate(a)
    run, active = registry.run_folder(b) / RUN_FILE, registry.folder / ACTIVE_FILE
    run.write_text(text)
    assert [e.id for e in registry.entries()] == [a]
    assert list(registry.damaged()) == [b]
    active.write_text(text)
    for call in (registry.choices, registry.roll_back, lambda: registry.activate(a)):
        with pytest.raises(DamagedProjectError, match="Rename it to begin again"):
            call()
    assert run.read_text() == text and active.read_text() == text
    assert begin(registry).id == "0003", "a training that needs no choice goes on"


def test_a_newer_format_is_left_untouched(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    run = registry.run_folder(done(registry, "roi")) / RUN_FILE
    run.write_text(json.dumps(json.loads(run.read_text()) | {"format": 99, "more": 1}))
    with pytest.raises(NewerSchemaError, match="format 99"):
        registry.entry("0001")


def test_a_number_is_never_given_to_another_model(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    a = done(registry, "roi")
    registry.activate(a)
    shutil.rmtree(registry.run_folder(a))  # by hand
    b = begin(registry)
    assert b.id == "0002" and registry.choices() == {"roi": a}
    registry.write(b.model_copy(update={"parents": {"roi": "0007"}}))
    assert begin(registry).id == "0008"


def test_a_chosen_model_that_is_gone_is_named_and_the_shipped_one_is_a_way_out(
    tmp_path: Path,
) -> None:
    registry = ModelRegistry(tmp_path)
    a, b = done(registry, "roi", "boxes"), done(registry, "roi")
    registry.activate(a)
    registry.activate(b)
    shutil.rmtree(registry.run_folder(a))
    assert "gone" in registry.damaged()[a] and b not in registry.damaged()
    for call in (lambda: registry.active("boxes"), registry.roll_back):
        with pytest.raises(ProjectError, match="for boxes: use another model, or the shipped one"):
            call()
    with pytest.raises(ProjectError, match="Expected one of roi, boxes, refiner, got 'box'"):
        registry.activate(SHIPPED, ["box"])
    assert registry.activate(SHIPPED, ["boxes"]) == {"roi": b}
    assert registry.damaged() == {}
    assert registry.activate(SHIPPED) == {} == registry.activate(SHIPPED)
    assert registry.roll_back() == {"roi": b}


def test_a_model_is_deleted_unless_it_is_needed(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    a, b, c = (done(registry, "roi") for _ in range(3))
    registry.activate(a)
    registry.activate(b)
    for needed, why in ((a, "rolling back"), (b, "in use"), ("0009", "no model '0009'")):
        with pytest.raises(ProjectError, match=why):
            registry.delete(needed)
    d = begin(registry).id
    with (
        exclusive(registry.run_folder(d) / LOCK_FILE, error=ProjectError, taken="taken"),
        pytest.raises(ProjectError, match="being trained"),
    ):
        registry.delete(d)
    (registry.run_folder(d) / RUN_FILE).write_text("damaged")
    registry.delete(d)
    registry.delete(c)
    assert [entry.id for entry in registry.entries()] == [a, b]
    assert sorted(path.name for path in registry.folder.iterdir()) == [
        a, b, ACTIVE_FILE, DELETED_FILE,
    ]  # fmt: skip
    e = begin(registry).id
    assert int(e) == int(d) + 1, "its number is not given twice"
    registry.write(registry.entry(e).model_copy(update={"parents": {"roi": a}}))
    registry.activate(b)
    registry.activate(SHIPPED)
    registry.roll_back()
    registry.activate(SHIPPED)
    registry.activate(b)
    registry.activate(SHIPPED)
    with pytest.raises(ProjectError, match=f"model {e} started from it"):
        registry.delete(a)
    (registry.folder / f".deleted-{e}").mkdir()
    (registry.folder / f".deleted-{e}" / "half").touch()  # of a deletion that was cut off
    registry.delete(e)
    registry.delete(a)


def test_a_run_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = ModelRegistry(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise ProjectError("disk full")

    monkeypatch.setattr(models, "atomic_write_text", full)
    with pytest.raises(ProjectError, match="disk full"):
        begin(registry)
    assert list(registry.folder.iterdir()) == [] and registry.damaged() == {}
