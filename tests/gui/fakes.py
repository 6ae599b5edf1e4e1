"""A small project, detectors that know the answer, and jobs that run at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.session import Session
from napari_graydet.workflows.predict import Predictor

SHAPE = (60, 80)
BRIGHT = RoiBox(20, 10, 50, 40)
"""Where every picture is bright: 200 on 40."""


def picture(seed: int) -> np.ndarray[Any, Any]:
    pixels = np.random.default_rng(seed).integers(30, 50, SHAPE).astype(np.uint8)
    pixels[10:40, 20:50] += 160
    return pixels


def make_folder(folder: Path, count: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / f"image_{number}.png")
    return folder


class FakeRois:
    name = "fake-roi"
    labels = ("bone", "lung")

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        return [RoiProposal(BRIGHT.grow(0.1, image.shape), "bone", 0.9)]


class Wavering(FakeRois):
    """Is less sure of the second and third image."""

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        (found,) = super().detect(image)
        return [replace(found, score=(0.9, 0.3, 0.6)[int(image.name.split(".")[0][-1])])]


class FakeBoxes:
    name = "fake-box"
    labels = ("bone", "lung")

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        ranges = [GrayRange(150, 255), GrayRange(100, 220), GrayRange(0, 100)]
        found = [
            BoxProposal(GrayBox.flat(roi, gray), label or "bone", 0.8 - 0.2 * i)
            for i, gray in enumerate(ranges)
        ]
        return found[: 1 + alternatives]


class Broken(FakeRois):
    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        raise ModelError("The model could not be run; choose another device.")


def predictor() -> Predictor:
    return Predictor(roi_detector=FakeRois(), box_detector=FakeBoxes())


class Handle:
    def cancel(self) -> None:
        pass


class InlineJobs:
    """Runs work at once, on this thread; `hold` keeps it for later."""

    def __init__(self) -> None:
        self.hold = False
        self.held: list[Callable[[], None]] = []
        self.closed = False

    def run(
        self,
        work: Callable[..., Any],
        *,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        progress: Callable[[Any], None] | None = None,
        finished: Callable[[], None] | None = None,
        waits: bool = False,
    ) -> Handle:
        def go() -> None:
            try:
                result = work(progress or (lambda _p: None), lambda: False)
            except Exception as error:  # noqa: BLE001  # the boundary of a worker
                failed(error)
            else:
                done(result)
            if finished is not None:
                finished()

        if self.hold:
            self.held.append(go)
        else:
            go()
        return Handle()

    def soon(self, call: Callable[[], None]) -> None:
        call()

    def release(self) -> None:
        self.hold = False
        while self.held:
            self.held.pop(0)()

    def close(self) -> None:
        self.closed = True


def make_controller(folder: Path, made: Callable[[], Predictor] = predictor) -> Controller:
    controller = Controller(Session(), InlineJobs(), made)
    controller.open_folder(folder)
    return controller
