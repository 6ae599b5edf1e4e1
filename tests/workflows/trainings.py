"""Small data to train on, and a part that trains in milliseconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_graydet.io.weights import WeightsCard, save_weights
from napari_graydet.models.learning.checkpoints import arrays_of
from napari_graydet.models.learning.loop import Budget, fit
from napari_graydet.workflows.training import parts as train_parts
from napari_graydet.workflows.training.job import PartJob, PartResult
from napari_graydet.workflows.training.parts import Part
from tests.models.learners import Tiny
from tests.workflows.projects import SHAPE

STEPS = 12


def make_folders(folder: Path, count: int = 6) -> tuple[Path, Path]:
    """Bright squares on noise, with their masks."""
    rng = np.random.default_rng(0)
    images, masks = folder / "images", folder / "masks"
    for made in (images, masks):
        made.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 60, (40, 50)).astype(np.uint8)
        mask = np.zeros_like(pixels)
        mask[8:30, 10 + number : 36] = 255
        Image.fromarray(pixels + mask // 2).save(images / f"p{number}.png")
        Image.fromarray(mask).save(masks / f"p{number}.png")
    return images, masks


class QuickPart:
    """Stands for the training of boxes: the real loop, events and checkpoints, a tiny network."""

    def __init__(self) -> None:
        self.learners: list[Tiny] = []
        self.learner = Tiny

    def __call__(self, job: PartJob) -> PartResult:
        assert all(sample.image.shape in ((40, 50), SHAPE) for sample in job.samples(job.train))
        learner = self.learner(seed=job.seed)
        self.learners.append(learner)
        scores = fit(learner, Budget(STEPS, validations=3), job.watch())
        card = WeightsCard(kind="boxes", architecture="tiny", classes=list(job.classes))
        save_weights(job.out, arrays_of(learner.result.state_dict(), "w"), card)
        return PartResult(scores, {"score": -9.0})


def quick_part(made: QuickPart) -> Part:
    """Return the boxes' entry with this training, which starts from anything."""
    return dataclasses.replace(train_parts.PARTS["boxes"], train=made, try_start=lambda *_: None)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> QuickPart:
    made = QuickPart()
    part = quick_part(made)
    monkeypatch.setitem(train_parts.PARTS, "boxes", part)
    return made
