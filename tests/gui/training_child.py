"""The command line with a training that takes no time: `COMMAND` starts it in a process.

``train`` writes the events and the registry's entry of a real run, with tiny weights, and does
what files in the project ask for; ``evaluate`` is the real one, with detectors that
know the answer: the model in use sees too large a box, a trained one the right one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import typer

from napari_graydet.cli import app
from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.io.weights import WeightsCard, save_weights
from napari_graydet.project.model_entry import ModelEntry, SplitNote
from napari_graydet.project.model_registry import STOP_FILE, ModelRegistry
from napari_graydet.project.splits import frozen
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.dataset import from_project
from napari_graydet.workflows.predict import Predictor

ROOT = Path(__file__).parents[2]
COMMAND = (
    sys.executable, "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r});"
    "from tests.gui.training_child import main; main()",
)  # fmt: skip
BRIGHT = RoiBox(20, 10, 50, 40)
STEPS = 12


def main() -> None:
    verb, *arguments = sys.argv[1:]
    if verb == "train":
        Training(arguments).run()
    else:
        evaluate()


def tell(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class Training:
    """A run; a file ``<what>.txt`` in the project says how it goes."""

    def __init__(self, arguments: list[str]) -> None:
        asked = typer.main.get_command(app).commands["train"].make_context("train", arguments)  # type: ignore[attr-defined]
        self.parts, self.folder = asked.params["parts"].split(","), asked.params["project"]
        self.preset, self.resumed = asked.params["preset"].value, asked.params["resume"] is not None
        self.registry = ModelRegistry(self.folder)

    def asked(self, what: str) -> bool:
        return (self.folder / f"{what}.txt").exists()

    def run(self) -> None:
        if self.asked("refuse"):
            sys.exit("napari-graydet: All masks cover their whole image; give others.")
        entry = self.begin()
        self.parts = list(entry.parts)  # a resumed run knows them itself
        split = entry.split
        assert split is not None
        folder = self.registry.run_folder(entry.id)
        tell(
            "start", run=entry.id, folder=str(folder), parts=self.parts, preset="fast", seed=0,
            classes=["bone"], images={"train": len(split.train), "validation": 1}, parents={},
            data="", resumed=self.resumed,
        )  # fmt: skip
        print("a library talks on standard output", flush=True)
        for number, part in enumerate(self.parts):
            tell("part", part=part, number=number + 1, of=len(self.parts))
            self.steps(entry, part, number, folder)
        for part in self.parts:
            card = WeightsCard(kind=part, architecture="tiny", classes=["bone"])  # type: ignore[arg-type]
            save_weights(folder / f"{part}.safetensors", {"w": np.zeros(2, np.float32)}, card)
        self.registry.end(entry.model_copy(update={"seconds": 1.0}), "done")
        tell("done", run=entry.id, folder=str(folder), seconds=1.0, weights={}, scores={},
             parent_scores={}, active=False)  # fmt: skip

    def begin(self) -> ModelEntry:
        if self.resumed:
            return self.registry.entries()[-1].model_copy(update={"status": "running"})
        with ProjectStore.open(self.folder) as store:
            data = from_project(store)
        drawn = frozen(self.folder, data.patients, seed=0)
        entry = self.registry.begin(self.parts, preset=self.preset, seed=0, request={}, versions={})
        note = SplitNote(seed=0, train=drawn.train, validation=drawn.validation)
        revisions = {case.name: case.revision for case in data.cases}
        entry = entry.model_copy(update={"split": note, "revisions": revisions})
        self.registry.write(entry)
        return entry

    def steps(self, entry: ModelEntry, part: str, number: int, folder: Path) -> None:
        for step in range(1, STEPS + 1):
            share = step / STEPS
            overall = (number + share) / len(self.parts)
            tell("progress", part=part, step=step, share=share, overall=overall,
                 loss=1 / step, seconds=0.1 * step)  # fmt: skip
            if step % 4 == 0:
                tell("validation", part=part, step=step, share=share,
                     scores={"mask IoU": 0.5 + share / 4}, best=True)  # fmt: skip
            if self.asked("crash"):
                os.abort()
            if self.asked("nan"):
                self.registry.end(entry, "failed", "The loss is NaN.")
                tell("failed", run=entry.id, message="The loss is NaN; the last good weights stay.")
                sys.exit(2)
            if self.asked("deaf"):
                time.sleep(60)
            while self.asked("slow") and not self.resumed:
                if (folder / STOP_FILE).exists():
                    self.registry.end(entry, "cancelled", "Stopped.")
                    tell("cancelled", run=entry.id, message="Stopped.")
                    sys.exit(130)
                time.sleep(0.02)


class Rois:
    labels = ("bone", "lung")

    def __init__(self, trained: bool) -> None:
        self.name = "trained" if trained else "shipped"
        self._roi = BRIGHT if trained else BRIGHT.grow(0.3, (60, 80))

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        return [RoiProposal(self._roi, "bone", 0.9)]


class Boxes:
    labels = ("bone", "lung")

    def __init__(self, trained: bool) -> None:
        self.name = "trained" if trained else "shipped"
        self._gray = GrayRange(150, 255) if trained else GrayRange(0, 255)

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        return [BoxProposal(GrayBox.flat(roi, self._gray), label or "bone", 0.8)]


def evaluate() -> None:
    from napari_graydet.__main__ import main as command_line
    from napari_graydet.workflows.evaluation import project_method

    def predictor_of(folder: Path, roi: object, *_: object, **__: object) -> Predictor:
        if (folder / "slow.txt").exists():
            time.sleep(60)
        if (folder / "refuse.txt").exists():
            os.abort()
        trained = roi is not None or bool(ModelRegistry(folder).choices())
        return Predictor(roi_detector=Rois(trained), box_detector=Boxes(trained))

    project_method.predictor_of = predictor_of
    command_line()
