"""Which of two models is better: on the same images, and where there is something to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_graydet.errors import DatasetError
from napari_graydet.gui.control import comparison as module
from napari_graydet.gui.control.comparison import Comparison, compare_models
from napari_graydet.gui.control.scored import Scored
from napari_graydet.workflows.events import ignore_progress, never_cancel


def scored(rows: list[dict[str, Any]], data: str = "d") -> Scored:
    return Scored({"rows": rows, "data": data, "all": {"dice": {"mean": 0.0}}}, Path("m"), "model")


def row(
    image: str, dice: float | None, label: str = "bone", *, nothing: bool = False
) -> dict[str, Any]:
    return {"image": image, "label": label, "dice": dice, "ceiling": 0.5, "nothing": nothing}


def compared(
    monkeypatch: pytest.MonkeyPatch,
    new: list[dict[str, Any]],
    old: list[dict[str, Any]],
    data: tuple[str, str] = ("d", "d"),
) -> Comparison:
    found = iter([scored(new, data[0]), scored(old, data[1])])
    monkeypatch.setattr(module, "evaluate_project", lambda *_, **__: next(found))
    monkeypatch.setattr(module, "_amount", lambda *_: 0.5)
    place = Path("place")
    return compare_models(place, "0001", "in use", place, ignore_progress, never_cancel)


def test_means_are_of_what_both_were_scored_on(monkeypatch: pytest.MonkeyPatch) -> None:
    new = [row("a", 0.8), row("b", 0.9), row("hard", None)]
    old = [row("a", 0.9), row("b", 0.9), row("hard", 0.2)]
    found = compared(monkeypatch, new, old)
    assert found.better is False, "failing on the hardest image makes no model better"
    assert "Mean DSC 0.900 → 0.850 on 2 held-out images" in found.verdict
    assert "better on 0, worse on 1, same on 1. 1 could not be scored with both." in found.verdict


def test_masks_accepted_just_as_drawn_are_counted() -> None:
    rows = [row("a", 1.0), row("a", 1.0, "lung"), row("b", 0.999), row("c", 1.0), row("d", None)]
    nothing = row("e", 1.0) | {"ceiling": None}
    assert scored([*rows, nothing]).as_drawn == 2


def test_masks_that_the_old_model_made_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = [row("a", 0.9), row("b", 0.9)], [row("a", 1.0), row("b", 0.6)]
    assert "One of them was accepted just as" in compared(monkeypatch, new, old).verdict
    assert "favours" not in compared(monkeypatch, new, [row("a", 0.99), row("b", 0.6)]).verdict


def test_classes_that_an_image_is_not_about_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lungs = [row("a", 1.0, "lung", nothing=True), row("b", 1.0, "lung", nothing=True)]
    new, old = [row("a", 0.7), row("b", 0.9)], [row("a", 0.6), row("b", 0.6)]
    found = compared(monkeypatch, new + lungs, old + lungs)
    assert "Mean DSC 0.600 → 0.800 on 2 held-out images" in found.verdict
    assert "better on 2, worse on 0, same on 0." in found.verdict
    assert len(found.changes) == 4, "they are in the table all the same"


def test_what_only_one_of_them_finds_where_nothing_is_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = compared(monkeypatch, [row("a", 1.0, nothing=True)], [row("a", 0.0)])
    assert found.better and "better on 1, worse on 0, same on 0." in found.verdict


def test_images_that_changed_in_between_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="compare once more"):
        compared(monkeypatch, [row("a", 0.9)], [row("a", 0.8)], ("d", "other"))
