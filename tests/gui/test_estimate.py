"""How long a training takes, told before it starts."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from napari_graydet.gui.control.models import Models, invitation, measured
from napari_graydet.project.model_entry import ModelEntry, SplitNote
from napari_graydet.project.schema import ImageEntry, State


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


def test_a_training_of_another_process_is_told_of() -> None:
    images = [
        ImageEntry(id=n, path=f"{n}.png", sha256=str(n), state=State.ACCEPTED, revision=1)
        for n in range(8)
    ]

    def hint(*alive: str) -> str:
        said = invitation(images, Models(Path(), alive=frozenset(alive)), ["boxes"], "fast")
        assert said.ready  # it may be what one wants
        return said.hint

    assert "being trained" not in hint()
    assert "Model 0002 is being trained by another process" in hint("0002")
    assert "Models 0002, 0010 are being trained" in hint("0010", "0002")
