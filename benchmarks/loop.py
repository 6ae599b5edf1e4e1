"""The loop of the program on real radiographs: detect, correct, accept, retrain, detect better.

    python benchmarks/loop.py --data ../shared/data

A researcher is simulated at the window's controller, without a screen: a project of tibia crops
(`limb`), which nothing shipped was trained on. In each round ten images are opened one after the
other; the detection is asked for; its proposal is thrown away and the truth put in its place by
the intents that a hand would give (an ROI per part, the best gray range, painting for the rest);
the image is accepted. Then the window's own training runs (`napari_graydet.gui.control.training`),
the models are compared on the held-out images, and the new one is put in use.

Before the first round and after each one the untouched proposals are scored on all images of
patients that are in none of the rounds: DSC and IoU of the union of all proposed masks, clean-up
and refiner as the project has them.

Results: benchmarks/results/loop.json, written after each round. A run that was cut goes on with
the project under --work.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_graydet.core.ceiling import best_range_inside
from napari_graydet.core.metrics import dice, iou
from napari_graydet.core.sample import connected_parts, part_rois
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.session import Session
from napari_graydet.gui.control.training import Training
from napari_graydet.gui.control.work import Job, Work
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.masks import read_mask
from napari_graydet.project.schema import State
from napari_graydet.workflows.detector.process import (
    DetectorProcess,
    DetectorSettings,
    ProcessPredictor,
)
from napari_graydet.workflows.events import OnProgress, ignore_progress
from napari_graydet.workflows.predict import Predictor

HERE = Path(__file__).parent
KIND, LABEL = "tibia", "bone"
ROUNDS, EACH, SEED = 4, 10, 0
TRAINED = ("roi", "boxes", "refiner")
DIGITS = slice(12, 18)
"""Where the person stands in a stem, ``tibia_train_010641041_...``; the rest is knee and visit."""

T = TypeVar("T")


def main() -> None:
    options = _options()
    worker = Researcher(options)
    results = _results(options.out)
    if results.get("settings") != worker.settings:
        results = {"settings": worker.settings, "rounds": []}
        shutil.rmtree(options.work, ignore_errors=True)
    rounds = results["rounds"]
    worker.open()
    try:
        if not rounds:
            rounds.append({"accepted": 0, **worker.score()})
            _write(options.out, results)
        for number in range(len(rounds), min(options.rounds, ROUNDS) + 1):
            rounds.append(worker.round(number))
            _write(options.out, results)
            print(json.dumps({k: v for k, v in rounds[-1].items() if k != "dice_by_image"}))
    finally:
        worker.close()
    print(table(rounds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "loop.json")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "loop")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how far to go now")
    parser.add_argument("--test", type=int, help="images to score; all that remain if not given")
    parser.add_argument("--minutes", type=float, help="budget of a training, not the preset's")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


class Inline:
    """Jobs that run at once: nobody has to be kept waiting here."""

    def run(
        self,
        work: Work[T],
        *,
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        progress: OnProgress | None = None,
        finished: Callable[[], None] | None = None,
        waits: bool = False,
    ) -> Job:
        """Do it; errors go where the window would get them."""
        try:
            result = work(progress or ignore_progress, lambda: False)
        except Exception as error:  # noqa: BLE001  # the boundary of a worker
            failed(error)
        else:
            done(result)
        if finished is not None:
            finished()
        return self

    def soon(self, call: Callable[[], None]) -> None:
        """Call it at once."""
        call()

    def cancel(self) -> None:
        """Nothing runs any more."""

    def close(self) -> None:
        """Nothing runs any more."""


class Researcher:
    """Someone who works through a folder of radiographs, ten at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._masks: Path = options.data / "limb" / "masks"
        self._project: Path = options.work / "study"
        images = options.data / "limb" / "images"
        self._pool, self._test = _divided(sorted(images.glob(f"{KIND}_*.png")), options.test)
        self._process: DetectorProcess | None = None
        self._settings: DetectorSettings | None = None
        self._controller = Controller(Session(), Inline(), self._predictor)
        self._training = Training(self._controller, lambda: str(options.device))
        self.settings = {
            "images": KIND,
            "pool": [path.stem for path in self._pool],
            "test": [path.stem for path in self._test],
            "each": EACH,
            "seed": SEED,
            "minutes": options.minutes,
            "parts": list(TRAINED),
        }

    def open(self) -> None:
        """Open the project; the images are copied once."""
        self._project.mkdir(parents=True, exist_ok=True)
        for path in (*self._pool, *self._test):
            if not (self._project / path.name).exists():
                shutil.copyfile(path, self._project / path.name)
        self._controller.open_folder(self._project)
        self._complain()

    def close(self) -> None:
        """Leave the window."""
        self._training.close()
        self._controller.close()
        if self._process is not None:
            self._process.close()

    def round(self, number: int) -> dict[str, Any]:
        """Correct and accept the next images, retrain, take the new model, and score it."""
        start = time.perf_counter()
        for path in self._pool[(number - 1) * EACH : number * EACH]:
            self._correct(path)
        corrected = time.perf_counter() - start
        run = self._train()
        return {"accepted": self._controller.session.accepted, "correcting_seconds": corrected} | (
            run | self.score()
        )

    def _correct(self, path: Path) -> None:
        """Put the truth in the place of the proposal, as a hand would, and accept."""
        controller, session = self._controller, self._controller.session
        entry = self._show(path)
        if entry.state is State.ACCEPTED:
            return
        controller.detection.image()
        assert session.image is not None and session.annotation is not None
        controller.delete_rois([roi.id for roi in session.annotation.rois])
        truth = read_mask(self._masks / path.name, session.image.shape)
        for roi in part_rois(connected_parts(truth)).values():
            controller.add_roi(roi, LABEL)
            best = best_range_inside(session.image, truth, roi)
            if best is not None:
                controller.set_range(best.low, best.high)
        painted = np.where(truth, session.classes.index(LABEL) + 1, 0)
        controller.paint(painted.astype(np.uint8))
        self._complain()
        controller.accept()
        self._complain()

    def _show(self, path: Path) -> Any:
        session = self._controller.session
        entry = next(e for e in session.entries if e.path == path.name)
        self._controller.go_to(entry.id)
        return entry

    def _train(self) -> dict[str, Any]:
        """Train as the button does, compare, and use the new model."""
        training, start = self._training, time.perf_counter()
        training.start(list(TRAINED), "fast", self._options.minutes)
        comparison = training.comparison
        if comparison is None:
            raise SystemExit(f"No model: {training.note.text if training.note else 'no reason'}")
        seconds = time.perf_counter() - start
        training.use(comparison.run_id)
        entry = training.models.entry(comparison.run_id)
        assert entry is not None and entry.split is not None
        held_out = {"new": comparison.new.mean("dice")}
        if comparison.old is not None:
            held_out["old"] = comparison.old.mean("dice")
        return {
            "model": entry.id,
            "training_seconds": round(entry.seconds, 1),
            "with_comparison_seconds": round(seconds, 1),
            "learned_from": len(entry.split.train),
            "held_out": len(entry.split.validation),
            "held_out_dice": held_out,
            "scores": entry.scores,
        }

    def score(self) -> dict[str, Any]:
        """Score the untouched proposals on the images that are never accepted."""
        predictor = self._predictor()
        rows: dict[str, tuple[float, float]] = {}
        start = time.perf_counter()
        for path in self._test:
            self._show(path)
            image = self._controller.session.image
            assert image is not None
            proposal = predictor.predict(image)
            failed = [text for text in proposal.notices if text.startswith("not refined")]
            if failed:  # a person would be told; a score of boxes alone would pass for the model's
                raise SystemExit(f"{path.name}: {failed[0]}")
            record = proposal.annotation
            found = np.zeros(image.shape, dtype=np.bool_)
            for label in record.labels:
                found |= record.mask(image.pixels, label)
            truth = read_mask(self._masks / path.name, image.shape)
            rows[path.stem] = dice(found, truth), iou(found, truth)
        values = np.array(list(rows.values()))
        return {
            "n": len(rows),
            "dice": round(float(values[:, 0].mean()), 4),
            "dice_median": round(float(np.median(values[:, 0])), 4),
            "iou": round(float(values[:, 1].mean()), 4),
            "proposal_seconds": round((time.perf_counter() - start) / len(rows), 3),
            "dice_by_image": {stem: round(pair[0], 4) for stem, pair in rows.items()},
        }

    def _predictor(self) -> Predictor:
        """Return the detectors in use, in a process of their own as the window has them."""
        weights = self._training.models.weights
        roi, boxes, refiner = (weights(part) for part in TRAINED)
        settings = DetectorSettings(roi, boxes, refiner, device=self._options.device)
        if self._process is None or self._settings != settings:
            if self._process is not None:
                self._process.close()
            self._settings, self._process = settings, DetectorProcess(settings)
        return ProcessPredictor(self._process)

    def _complain(self) -> None:
        message = self._controller.session.message
        if message is not None and message.level == "error":
            raise SystemExit(message.text)


def _divided(paths: list[Path], test: int | None) -> tuple[list[Path], list[Path]]:
    """Return the images to correct and those to score, of different people, seeded."""
    people = sorted({path.stem[DIGITS] for path in paths})
    order = {p: n for n, p in enumerate(np.random.default_rng(SEED).permutation(people))}
    ordered = sorted(paths, key=lambda path: (order[path.stem[DIGITS]], path.stem))
    pool = ordered[: ROUNDS * EACH]
    known = {path.stem[DIGITS] for path in pool}
    return pool, [path for path in ordered if path.stem[DIGITS] not in known][:test]


def _results(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _write(path: Path, results: dict[str, Any]) -> None:
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "ultralytics", "numpy")},
        "python": platform.python_version(),
        **results,
    }
    atomic_write_text(path, json.dumps(document, indent=1) + "\n")


def table(rounds: list[dict[str, Any]]) -> str:
    """Return the rounds as a Markdown table."""
    lines = ["| accepted | DSC | median | IoU | training, s |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['accepted']} | {r['dice']:.4f} | {r['dice_median']:.4f} | {r['iou']:.4f} "
        f"| {r.get('training_seconds', '–')} |"
        for r in rounds
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
