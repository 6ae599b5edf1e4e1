"""The registry of models: nothing is overwritten, nothing damaged is used, one can go back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_graydet.errors import DamagedProjectError, NewerSchemaError, ProjectError
from napari_graydet.io.weights import WeightsCard, save_weights
from napari_graydet.project.models import ACTIVE_FILE, RUN_FILE, ModelEntry, ModelRegistry


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
        with pytest.raises(DamagedProjectError):
            call()
    assert run.read_text() == text and active.read_text() == text


def test_a_newer_format_is_left_untouched(tmp_path: Path) -> None:
    registry = ModelRegistry(tmp_path)
    run = registry.run_folder(done(registry, "roi")) / RUN_FILE
    run.write_text(json.dumps(json.loads(run.read_text()) | {"format": 99, "more": 1}))
    with pytest.raises(NewerSchemaError, match="format 99"):
        registry.entry("0001")
