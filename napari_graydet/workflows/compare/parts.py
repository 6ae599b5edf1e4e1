"""Training of what finds ROIs first: ours, and the simple rivals in our ROIs.

The parts are those of ``napari-graydet train``. A trained part is kept in the task's folder and
found again by the next method that needs it; what it took is written beside it and counts for both.
A part that another version of the program made, or from another start, is trained again. Where
minutes are given, the parts of a method share them, so each method has parts of its own.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from napari_graydet.errors import DatasetError, ExportError, WeightsError
from napari_graydet.io.files import atomic_write_text, sha256_of
from napari_graydet.io.weights import load_weights, read_card
from napari_graydet.project import splits
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.compare.task import Task, Trained, alone
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.evaluation.measuring import Cost, measured
from napari_graydet.workflows.evaluation.methods import GraydetMethod
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.training.job import PartJob, Preset
from napari_graydet.workflows.training.parts import PARTS

if TYPE_CHECKING:
    from napari_graydet.models.boxes.interval import IntervalKind
    from napari_graydet.models.refiner.refiner import Refiner


class PartNote(BaseModel):
    """What the training of a part took.

    Parameters
    ----------
    cost, steps
        Time and memory; optimiser steps.
    weights
        Number of weights.
    note
        What there is to know about them.
    made_of
        Digest of what else went into them than the folder's images: see `_made_of`.
    """

    cost: Cost
    steps: int
    weights: int
    note: str | None = None
    made_of: str = ""


def train_graydet(preset: Preset, refine: bool, task: Task) -> Trained:
    """Train ROI detector and box detector, and if wanted the refiner.

    A seventh of the images is held out for choices (when to stop, which refiner), by patient; they
    count among the images that the method learns from.
    """
    parts = _Parts(parts_of_method(refine), preset, task)
    notes = {name: _part(name, parts) for name in parts.names}
    predictor = Predictor(parts.file("roi"), parts.file("boxes"), task.device)
    refiner = _refiner(parts.file("refiner"), task.device) if refine else None
    return _trained(GraydetMethod(predictor, refiner, name=_name(preset, refine)), notes)


def parts_of_method(refine: bool) -> tuple[str, ...]:
    """Return the names of the parts that ours trains."""
    return ("roi", "boxes", "refiner") if refine else ("roi", "boxes")


def check_parts(names: Sequence[str], preset: Preset, task: Task) -> None:
    """Find out before anything is trained whether parts can be.

    Raises
    ------
    WeightsError, ModelError
        If one cannot start from its weights.
    """
    for name in names:
        if (start := _start(name, preset, task)) is not None:
            PARTS[name].try_start(start, preset, task.train.classes)


def check_choices(task: Task) -> None:
    """Find out before anything is trained whether images can be held out for choices.

    Raises
    ------
    DatasetError
        As `split_for_choices`.
    """
    split_for_choices(task)


def split_for_choices(task: Task) -> splits.Split:
    """Hold out images for a method's own choices: some with an object, none with all of a class.

    Raises
    ------
    DatasetError
        If the training images are all of one patient, or no draw leaves every class in those that
        are learned from and an object in the others.
    """
    train = task.train
    if len(set(train.patients.values())) < 2:
        raise DatasetError(
            "Expected training images of at least 2 patients, since some are held out for a "
            f"method's own choices, got {len(train.cases)} of one patient (seed {task.seed}); "
            "train on more images (--n), or leave out all but the whole-image networks."
        )
    for more in range(splits.TRIES):
        split = splits.by_patient(train.patients, seed=task.seed + more)
        if _tells(train.subset(split.validation)) and _has_all(train.subset(split.train)):
            return split
    raise DatasetError(
        f"Expected objects of {' and '.join(train.classes)} both in the images that are learned "
        "from and in those that are held out for a method's own choices, but no draw of the "
        f"{len(train.cases)} training images has that (seed {task.seed}); train on more images "
        "(--n), or leave out all but the whole-image networks."
    )


def _tells(held_out: Dataset) -> bool:
    """Tell whether there is an object to choose by."""
    return any(sample.parts.any() for case in held_out.cases for sample in case.samples())


def _has_all(train: Dataset) -> bool:
    """Tell whether every class is in some image; only as many are read as it takes."""
    missing = set(train.classes)
    for case in train.cases:
        missing -= {sample.label for sample in case.samples() if sample.parts.any()}
        if not missing:
            return True
    return False


def _name(preset: Preset, refine: bool) -> str:
    if preset == "paper":
        return "paper"
    return "graydet+refiner" if refine else "graydet"


def _trained(method: GraydetMethod, notes: dict[str, PartNote]) -> Trained:
    return Trained(
        method,
        weights=sum(note.weights for note in notes.values()),
        steps={name: note.steps for name, note in notes.items() if note.steps},
        cost=sum((note.cost for note in notes.values()), Cost()),
        notes=tuple(note.note for note in notes.values() if note.note is not None),
    )


def _refiner(path: Path, device: str) -> Refiner | None:
    """Load the refiner, None if boxes alone did better on the held-out images."""
    from napari_graydet.models.refiner.refiner import Refiner

    if not read_card(path).is_of_use:
        return None
    return Refiner.load(path, device=device)


def train_interval(kind: IntervalKind, task: Task) -> Trained:
    """Fit a simple rival to the histograms of the true ROIs; it works in the ROIs that ours finds.

    It learns from all images; only the ROI detector holds some out.
    """
    from napari_graydet.models.boxes.interval import IntervalDetector, fit_interval

    parts = _Parts(("roi",), "fast", task)
    note = _part("roi", parts)
    with measured() as cost:
        crops = box_samples(chain.from_iterable(task.samples()), task.train.classes)
        model = fit_interval(kind, crops, task.train.classes, task.seed)
    predictor = Predictor(
        parts.file("roi"),
        device=task.device,
        box_detector=IntervalDetector(model, name=kind),
    )
    method = GraydetMethod(predictor, name=kind)
    return Trained(method, note.weights, {"roi": note.steps}, note.cost + cost)


# --- One part -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """Parts that a method trains together."""

    names: tuple[str, ...]
    preset: Preset
    task: Task

    def file(self, name: str) -> Path:
        """Return where the weights of one of them, or of one that it relies on, lie."""
        folder = self.task.folder / self.preset
        shared = self.task.minutes is None
        return (folder if shared else folder / "-".join(self.names)) / f"{name}.safetensors"

    def minutes_of(self, name: str) -> float | None:
        """Return the share of the time that one of them gets."""
        if self.task.minutes is None:
            return None
        return self.task.minutes * PARTS[name].effort / sum(PARTS[n].effort for n in self.names)


def _part(name: str, parts: _Parts) -> PartNote:
    """Train a part unless that was done before; return what it took."""
    with alone(parts.file(name)):
        return _part_alone(name, parts)


def _part_alone(name: str, parts: _Parts) -> PartNote:
    path = parts.file(name)
    note, cut = path.with_suffix(".cost.json"), path.with_suffix(".cut.json")
    job, steps, said = _job(name, parts)
    made_of = _made_of(job)
    known = _read(note) if path.exists() else None
    if known is not None and known.made_of == made_of:
        return known
    note.unlink(missing_ok=True)
    job = replace(job, checkpoints=job.checkpoints.with_name(f"{name}-{made_of[:8]}"))
    before = _read(cut)
    if before is None or before.made_of != made_of:
        before = PartNote(cost=Cost(), steps=0, weights=0, made_of=made_of)

    def taken(weights: int = 0, said: str | None = None) -> PartNote:
        took, made = before.cost + cost, before.steps + steps()
        return PartNote(cost=took, steps=made, weights=weights, note=said, made_of=made_of)

    try:
        with measured() as cost:
            result = PARTS[name].train(job)
    finally:  # a training that was cut goes on, and what it took until here counts
        _write(cut, taken())
    shutil.rmtree(job.checkpoints, ignore_errors=True)
    said += [result.note] if result.note is not None and result.note not in said else []
    made = taken(_weights(path), " ".join(said) or None)
    _write(note, made)
    cut.unlink(missing_ok=True)
    return made


def _write(path: Path, note: PartNote) -> None:
    atomic_write_text(path, note.model_dump_json(indent=1) + "\n", error=ExportError)


def _job(name: str, parts: _Parts) -> tuple[PartJob, Callable[[], int], list[str]]:
    """Return the training of a part, what tells how many steps it has made, and its notices."""
    path, task = parts.file(name), parts.task
    made, said = 0, list[str]()

    def tell(event: str, **fields: Any) -> None:
        nonlocal made
        if event == "notice":
            said.append(str(fields["message"]))
        if event == "progress":  # of every step; a refiner's networks come one after the other
            made += 1
            task.step(name, float(fields["share"]))

    split = split_for_choices(task)
    job = PartJob(
        train=task.train.subset(split.train),
        validation=task.train.subset(split.validation),
        classes=task.train.classes,
        preset=parts.preset,
        seed=task.seed,
        start=_start(name, parts.preset, task),
        out=path,
        checkpoints=path.parent / name,
        tell=tell,
        should_cancel=task.should_cancel,
        minutes=parts.minutes_of(name),
        device=task.device,
        uses={kind: parts.file(kind) for kind in PARTS[name].needs},
    )
    return job, lambda: made, said


def _made_of(job: PartJob) -> str:
    """Return a digest of the program's version, the start, and the parts that a part relies on."""
    files = [job.start, *job.uses.values()]
    digests = ["-" if file is None else sha256_of(file, error=WeightsError) for file in files]
    return hashlib.sha256("\n".join([version("napari-graydet"), *digests]).encode()).hexdigest()


def _start(name: str, preset: Preset, task: Task) -> Path | None:
    """Return the weights that a part starts from: the task's, else the shipped ones, if any."""
    from napari_graydet.models.loading import shipped

    if name == "boxes" and preset == "paper":
        return task.starts.get("pointnet")
    if name in task.starts:
        return task.starts[name]
    if name == "refiner":
        try:
            return shipped("refiner")
        except WeightsError:
            return None
    return shipped("roi" if name == "roi" else "boxes")


def _read(note: Path) -> PartNote | None:
    """Return what a part's training took, None if that is not known."""
    try:
        return PartNote.model_validate_json(note.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def _weights(path: Path) -> int:
    return sum(array.size for array in load_weights(path)[0].values())
