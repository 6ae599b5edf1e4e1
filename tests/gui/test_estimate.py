"""How long a training takes, told before it starts."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from napari_graydet.gui.models import Models, measured
from napari_graydet.project.models import ModelEntry, SplitNote


def run(seconds: float, parts: tuple[str, ...], images: int = 20, **other: Any) -> ModelEntry:
    names = tuple(f"{n}.png" for n in range(images))
    given: dict[str, Any] = {"preset": "fast", "status": "done", "request": {}} | other
    return ModelEntry(
        id="0001", parts=parts, seed=0, started=datetime.datetime.now(datetime.UTC),
        split=SplitNote(seed=0, train=names[1:], validation=names[:1]), seconds=seconds, **given,
    )  # fmt: skip


def estimate(*runs: ModelEntry, count: int = 20, parts: tuple[str, ...] = ("roi", "boxes")) -> Any:
    return measured(count, Models(Path(), runs), parts, "fast")


def test_the_last_training_here_is_the_witness() -> None:
    both = ("roi", "boxes")
    assert estimate() is None
    assert estimate(run(900, both), run(400, both)) == 400
    assert estimate(run(400, both), count=80) == pytest.approx(800)  # steps grow with the root
    assert estimate(run(400, both, images=80)) == pytest.approx(200)
    assert estimate(run(400, both), parts=("roi",)) == pytest.approx(300)  # three parts of four


@pytest.mark.parametrize(
    "other",
    [{"preset": "paper"}, {"status": "cancelled"}, {"request": {"minutes": 0.5}}],
)
def test_others_are_no_witness(other: dict[str, Any]) -> None:
    assert estimate(run(400, ("roi", "boxes"), **other)) is None
