"""Training of the refiner: what no gray range can reach, learned on top of the boxes of the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_graydet.core.sample import Sample
from napari_graydet.io.weights import read_card
from napari_graydet.project.model_entry import Scores
from napari_graydet.workflows.evaluation.methods import GraydetMethod
from napari_graydet.workflows.events import ShouldCancel, check_cancelled, never_cancel
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.training.job import PartJob, PartResult, some

if TYPE_CHECKING:
    from napari_graydet.models.boxes.detector import BoxModel
    from napari_graydet.models.refiner.choice import HeldOut
    from napari_graydet.models.refiner.model import RefinerModel

NOT_BETTER = (
    "The boxes alone do better on the held-out images than with any refiner, so none is used; "
    "a training goes on from its weights when --start names this model."
)
CANNOT_TELL = (
    "On the held-out images all refiners and the boxes alone come out the same, so none could be "
    "chosen and none is used; a training goes on from its weights when --start names this model."
)
CHOSEN = "Chosen on the held-out images: {name}."
NO_BOXES = (
    "No box of {labels} is found in the held-out images, so no refiner can be chosen there; "
    "train roi and boxes, too."
)


def train_refiner_part(job: PartJob) -> PartResult:
    """Train all refiners, and choose on held-out images, with the boxes that are found there."""
    from napari_graydet.models.refiner.choice import in_words
    from napari_graydet.models.refiner.learner import RefinerTraining
    from napari_graydet.models.refiner.model import RefinerModel
    from napari_graydet.models.refiner.training import make_refiner

    start = None if job.start is None else RefinerModel.load(job.start)
    training = RefinerTraining() if start is None else RefinerTraining(frame=start.frame)
    held_out = job.watched(_held_out(job))
    before = _scores_of_start(start, held_out)
    table = make_refiner(
        job.samples(job.train),
        job.classes,
        job.out,
        seed=job.seed,
        held_out=held_out,
        data=[f"images of a project: {len(job.train.cases)}"],
        start=start,
        trunk=_trunk(job.uses["boxes"]),
        training=replace(training, steps=_steps(job, training.batch)),
        minutes=job.minutes,
        device=job.device,
        watch=job.watch(),
    )
    card = read_card(job.out)
    chosen = str(card.metrics["chosen"])
    if card.is_of_use:
        note = CHOSEN.format(name=in_words(chosen))
    else:
        note = NOT_BETTER if len(set(table.values())) > 1 else CANNOT_TELL
    job.tell("notice", message=note)
    used = {"DSC": table[chosen]}
    return PartResult(used | {f"DSC, {name}": v for name, v in table.items()}, before, note)


def _steps(job: PartJob, batch: int) -> int:
    """Return the steps of all refiners; epochs are those of a U-Net with its share of `SHARES`."""
    from napari_graydet.models.refiner.training import SHARES

    if job.epochs is None:
        return job.refiner_steps
    parts = sum(len(sample.rois) for sample in job.samples(job.train))
    return math.ceil(job.epochs * parts / batch / SHARES["unet"])


def _trunk(boxes: Path) -> BoxModel | None:
    """Return the box detector whose point features a new point head takes over, if it has some."""
    from napari_graydet.models.boxes.detector import ARCHITECTURE, BoxModel

    return BoxModel.load(boxes) if read_card(boxes).architecture == ARCHITECTURE else None


def _held_out(job: PartJob) -> list[HeldOut]:
    """Return held-out images with the boxes that the run's detectors find in them."""
    predictor = Predictor(job.uses["roi"], job.uses["boxes"], job.device)
    cases = some(job.validation).cases
    images = ([s for s in case.samples() if s.label in job.classes] for case in cases)
    made = held_out_boxes(images, predictor, job.should_cancel)
    if made and not any(case.boxes for case in made):
        job.tell("notice", message=NO_BOXES.format(labels=" or ".join(job.classes)))
    return made


def held_out_boxes(
    images: Iterable[Sequence[Sample]],
    predictor: Predictor,
    should_cancel: ShouldCancel = never_cancel,
) -> list[HeldOut]:
    """Return images to choose a refiner on, with the boxes that are found in them.

    A label with nothing to find and nothing found tells no refiner from another, and is left out.

    Parameters
    ----------
    images
        The samples of each image: one a label.
    predictor
        What finds the boxes.
    should_cancel
        Asked before every image.
    """
    from napari_graydet.models.refiner.choice import HeldOut

    method, made = GraydetMethod(predictor), list[HeldOut]()
    for samples in images:
        check_cancelled(should_cancel)
        boxes = method.segment(samples[0].image).boxes if samples else ()
        made += [
            HeldOut(s.image, tuple(b for b in boxes if b.label == s.label), s.label, s.mask)
            for s in samples
        ]
    return [case for case in made if case.boxes or case.mask.any()] or made


def _scores_of_start(start: RefinerModel | None, held_out: Sequence[HeldOut]) -> Scores:
    """Return the figure of the start, if it knows one of the classes."""
    from napari_graydet.models.refiner.choice import FLIPS, compare_refiners

    if start is None or not {case.label for case in held_out} & set(start.classes):
        return {}
    table = compare_refiners([start], held_out)
    return {"DSC": table[start.kind + (FLIPS if start.flips else "")]}
