"""What can be trained: one entry a part. A new part is a function and a line in `PARTS`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from skimage.transform import downscale_local_mean

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import DatasetError, ModelError
from napari_graydet.project.models import Scores
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.events import ShouldCancel, check_cancelled
from napari_graydet.workflows.training_data import Sample

if TYPE_CHECKING:
    from napari_graydet.models.box_detector import BoxModel
    from napari_graydet.models.box_samples import BoxSample
    from napari_graydet.models.roi_metrics import RoiSample
    from napari_graydet.models.training import Budget, Watch

Preset = Literal["fast", "paper"]

FAST_ROI_STEPS, FAST_BOX_STEPS = 150, 400
"""Steps of preset `fast` on `FEW` images; more images get more, see `grown`."""

FEW = 20
PAPER_ROI_EPOCHS = 50.0
VALIDATIONS, PATIENCE = 10, 6
"""How often held-out images are scored, and how often in vain before the rest is saved."""

SCORED_IMAGES = 60
"""Held-out images, at most, on which ROIs are scored on the way."""

LONGEST = 640
"""Longest side at which held-out images are kept for that, at least."""


def grown(steps: int, images: int) -> int:
    """Return steps for a number of images: they grow with its root."""
    return round(steps * math.sqrt(max(images, FEW) / FEW))


@dataclass(frozen=True)
class PartJob:
    """What the training of one part gets.

    Parameters
    ----------
    train, validation
        The images to learn from, and those that choose when to stop.
    classes
        Labels by id.
    preset, seed, epochs, minutes, device
        As asked for; `epochs` and `minutes` are budgets of this part, at most one is given.
    start
        The weights to start from.
    out
        Where the part's weights go.
    checkpoints
        Folder for its checkpoints; those that are there are gone on from.
    tell
        Takes events; adds the part's name.
    should_cancel
        Whether to stop now.
    """

    train: Dataset
    validation: Dataset
    classes: tuple[str, ...]
    preset: Preset
    seed: int
    start: Path
    out: Path
    checkpoints: Path
    tell: Callable[..., None]
    should_cancel: ShouldCancel
    epochs: float | None = None
    minutes: float | None = None
    device: str = "auto"

    def watch(self) -> Watch:
        """Return who watches the part's training: events out, the wish to stop in, checkpoints."""
        from napari_graydet.models.checkpoints import Checkpoints
        from napari_graydet.models.training import Step, Watch

        def step(at: Step) -> None:
            self.tell(
                "progress",
                step=at.step,
                share=round(at.share, 5),
                loss=round(at.loss, 5),
                seconds=round(at.seconds, 2),
            )
            check_cancelled(self.should_cancel)

        def validated(step: int, share: float, scores: Scores, best: bool) -> None:
            rounded = {name: round(value, 5) for name, value in scores.items()}
            self.tell("validation", step=step, share=round(share, 5), scores=rounded, best=best)

        return Watch(
            step,
            validated,
            lambda message: self.tell("notice", message=message),
            Checkpoints(self.checkpoints),
        )

    def roi_budget(self) -> dict[str, Any]:
        """Return the budget of the ROI detector's training, as `train_roi` takes it."""
        if self.minutes is not None:
            return {"minutes": self.minutes}
        if self.epochs is not None or self.preset == "paper":
            return {"epochs": self.epochs or PAPER_ROI_EPOCHS}
        return {"steps": grown(FAST_ROI_STEPS, len(self.train.cases))}

    def box_budget(self, parts: int) -> Budget:
        """Return the budget of the box detector's training on a number of parts."""
        from napari_graydet.models.box_training import BoxTraining
        from napari_graydet.models.training import Budget

        steps = grown(FAST_BOX_STEPS, len(self.train.cases))
        if self.epochs is not None:
            steps = math.ceil(self.epochs * parts / BoxTraining().batch)
        return Budget(
            None if self.minutes is not None else steps, self.minutes, VALIDATIONS, PATIENCE
        )

    def samples(self, data: Dataset) -> Iterator[Sample]:
        """Read the images one by one, until asked to stop."""
        for case in data.cases:
            check_cancelled(self.should_cancel)
            yield from (s for s in case.samples() if s.label in self.classes)


@dataclass(frozen=True)
class PartResult:
    """Figures on the held-out images: of the new weights and of those it started from."""

    scores: Scores = field(default_factory=dict)
    parent_scores: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Something that can be trained.

    Parameters
    ----------
    name
        As the command line calls it.
    kind
        Of the weights that it makes: their file's name and what `ModelRegistry.activate` swaps.
    about
        One line for people.
    train
        Trains and writes `job.out`.
    effort
        Share of the time that it takes, beside the other parts'.
    in_all
        Whether ``train all`` includes it.
    """

    name: str
    kind: str
    about: str
    train: Callable[[PartJob], PartResult]
    effort: float = 1.0
    in_all: bool = True


# --- ROI ----------------------------------------------------------------------------------------


def train_roi_part(job: PartJob) -> PartResult:
    """Train the ROI detector."""
    from napari_graydet.models.roi_training import train_roi

    held_out = [shrunk(sample) for sample in job.samples(some(job.validation))]
    before = _roi_scores_of_start(job, held_out)
    count = len(job.train.cases)
    card = train_roi(
        job.samples(job.train),
        start=job.start,
        out=job.out,
        seed=job.seed,
        classes=job.classes,
        validation=held_out,
        validations=VALIDATIONS,
        patience=PATIENCE,
        preset=job.preset,
        data=[f"images of a project: {count}"],
        device=job.device,
        watch=job.watch(),
        **job.roi_budget(),
    )
    return PartResult(_figures(card.metrics), before)


def _roi_scores_of_start(job: PartJob, held_out: Sequence[RoiSample]) -> Scores:
    """Return the figures of the start, if it is a detector that knows one of the classes."""
    from napari_graydet.models.roi_detector import YoloRoiDetector
    from napari_graydet.models.roi_metrics import roi_scores

    if job.start.suffix == ".weights":
        return {}
    detector = YoloRoiDetector.from_weights(job.start, device=job.device)
    known = set(detector.labels) & set(job.classes)
    return roi_scores(detector, held_out) if known else {}


@dataclass(frozen=True, eq=False)
class _SmallSample:
    """A sample as a detector looks at it, small enough to keep many."""

    image: GrayImage
    label: str
    kind: str
    rois: list[RoiBox]


def shrunk(sample: Sample) -> RoiSample:
    """Return a sample in 8 bit, longest side at most `LONGEST`: what it takes to score ROIs."""
    image = sample.image
    factor = max(1, -(-max(image.shape) // LONGEST))
    if factor == 1:
        return _SmallSample(image, sample.label, sample.kind, sample.rois)
    gray = downscale_local_mean(image.display8(), (factor, factor)).astype(np.uint8)
    small = GrayImage(gray, GrayScale.of_bits(8), name=image.name)
    rois = [RoiBox(*(v / factor for v in roi.xyxy)).clip(small.shape) for roi in sample.rois]
    return _SmallSample(small, sample.label, sample.kind, rois)


# --- 3D boxes -----------------------------------------------------------------------------------


def train_boxes_part(job: PartJob) -> PartResult:
    """Train PointNet on anchors, and solve the regressor."""
    from napari_graydet.models.box_samples import Disturbance
    from napari_graydet.models.box_training import BoxTraining, box_scores, scored_rois, train_boxes

    start = _box_model(job)
    samples, held_out = _crops(job, job.train), _crops(job, job.validation)
    rois = scored_rois(held_out, np.random.default_rng(job.seed))
    before = box_scores(start, rois)
    model = train_boxes(
        samples,
        job.classes,
        seed=job.seed,
        training=BoxTraining(disturbance=Disturbance(pose=True), learning_rate=1e-3),
        start=start,
        validation=held_out,
        budget=job.box_budget(len(samples)),
        device=job.device,
        watch=job.watch(),
    )
    return _saved(job, model, box_scores(model, rois), before)


def train_regressor_part(job: PartJob) -> PartResult:
    """Solve the box regressor again, on the network as it is."""
    from napari_graydet.models.box_detector import BoxModel
    from napari_graydet.models.box_training import (
        BoxTraining,
        box_scores,
        fit_regressor,
        scored_rois,
    )

    start = _box_model(job)
    rng = np.random.default_rng(job.seed)
    rois = scored_rois(_crops(job, job.validation), np.random.default_rng(job.seed))
    samples = _crops(job, job.train)
    fitted = fit_regressor(start.network, samples, len(job.classes), start.grid, BoxTraining(), rng)
    model = BoxModel(start.network, fitted, start.grid, job.classes)
    job.tell("progress", step=1, share=1.0, loss=0.0, seconds=0.0)
    return _saved(job, model, box_scores(model, rois), box_scores(start, rois))


def _box_model(job: PartJob) -> BoxModel:
    """Return the start as a model of the job's classes."""
    from napari_graydet.models.box_detector import BoxModel
    from napari_graydet.models.box_training import for_classes

    return for_classes(BoxModel.load(job.start), job.classes)


def _saved(job: PartJob, model: BoxModel, scores: Scores, before: Scores) -> PartResult:
    versions = {name: version(name) for name in ("torch", "numpy")}
    data = [f"images of a project: {len(job.train.cases)}"]
    model.save(job.out, data=data, metrics=scores, seed=job.seed, versions=versions)
    return PartResult(scores, before)


def _crops(job: PartJob, data: Dataset) -> list[BoxSample]:
    """Cut the parts out, grouped by class: each is drawn equally often."""
    from napari_graydet.models.box_samples import crop_sample

    return [
        crop_sample(sample.image, sample.mask, roi, job.classes.index(sample.label), sample.label)
        for sample in job.samples(data)
        for roi in sample.rois
    ]


# --- common -------------------------------------------------------------------------------------


def some(data: Dataset) -> Dataset:
    """Return at most `SCORED_IMAGES` cases, evenly chosen."""
    step = -(-len(data.cases) // SCORED_IMAGES)
    return Dataset(data.cases[:: max(1, step)], data.classes)


def _figures(metrics: Mapping[str, object]) -> Scores:
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


_PARTS = (
    Part("roi", "roi", "the ROI detector (YOLO)", train_roi_part, effort=3),
    Part("boxes", "boxes", "the 3D box detector (PointNet and regressor)", train_boxes_part),
    Part("regressor", "boxes", "the box regressor alone", train_regressor_part, in_all=False),
)
PARTS: dict[str, Part] = {part.name: part for part in _PARTS}


def parts_of(names: str) -> tuple[Part, ...]:
    """Return the parts that "all", or names with commas between them, stand for.

    Raises
    ------
    ModelError
        If there is no such part, or two of them make the same weights.
    """
    if names == "all":
        return tuple(part for part in PARTS.values() if part.in_all)
    asked = [name.strip() for name in names.split(",")]
    unknown = [name for name in asked if name not in PARTS]
    if unknown:
        raise ModelError(f"Expected parts among {', '.join(PARTS)} or all, got {unknown[0]!r}.")
    chosen = tuple(part for name, part in PARTS.items() if name in asked)
    if len({part.kind for part in chosen}) < len(chosen):
        raise ModelError("The boxes' training fits the regressor, too; train boxes alone.")
    return chosen


def check_data(train: Dataset, validation: Dataset, should_cancel: ShouldCancel) -> None:
    """Read every image once and refuse what nothing can be learned from, before anything starts.

    Raises
    ------
    ImageError, MaskError, ProjectError
        If a file cannot be read or a mask has another size.
    DatasetError
        If a class is in no training image, or its masks always cover the whole image.
    """
    whole: dict[str, list[bool]] = {}
    seen: set[str] = set()
    for data in (train, validation):
        for case in data.cases:
            check_cancelled(should_cancel)
            for sample in case.samples():
                if sample.parts.any():
                    whole.setdefault(sample.label, []).append(bool(sample.parts.all()))
                    seen |= {sample.label} if data is train else set()
    if missing := [label for label in train.classes if label not in seen]:
        raise DatasetError(
            f"Expected every class in the training images, but none of the {len(train.cases)} has "
            f"{' or '.join(missing)}; label more images of it, or leave it out (--classes)."
        )
    for label, covers in whole.items():
        if all(covers):
            raise DatasetError(
                f"All {len(covers)} masks of {label!r} cover their whole image, so there is "
                "nothing to tell it from; give masks of the object alone."
            )
