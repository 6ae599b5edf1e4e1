"""What can be trained: one entry a part. A new part is a function and a line in `PARTS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_graydet.errors import DatasetError, ModelError
from napari_graydet.project.models import Scores
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.events import ShouldCancel, check_cancelled
from napari_graydet.workflows.training_data import Sample

if TYPE_CHECKING:
    from napari_graydet.models.box_samples import BoxSample

Preset = Literal["fast", "paper"]
PRESETS: tuple[Preset, ...] = ("fast", "paper")


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


def train_roi_part(job: PartJob) -> PartResult:
    """Train the ROI detector."""
    from napari_graydet.models.roi_training import train_roi

    card = train_roi(
        job.samples(job.train),
        start=job.start,
        out=job.out,
        seed=job.seed,
        epochs=job.epochs or (None if job.minutes else 20.0),
        minutes=job.minutes,
        classes=job.classes,
        held_out=job.samples(job.validation),
        device=job.device,
        on_progress=lambda at: _progress(job, at.step, at.share, at.loss),
    )
    return PartResult({k: v for k, v in card.metrics.items() if isinstance(v, float)})


def train_boxes_part(job: PartJob) -> PartResult:
    """Train PointNet on anchors, and solve the regressor."""
    from napari_graydet.models.box_training import BoxTraining, box_metrics, train_boxes

    training = BoxTraining(steps=int(job.epochs or 400))
    model = train_boxes(
        _crops(job, job.train),
        job.classes,
        seed=job.seed,
        training=training,
        on_step=lambda step, steps, loss: _progress(job, step, step / steps, loss),
    )
    scores = box_metrics(model, _crops(job, job.validation), seed=job.seed)
    versions = {name: version(name) for name in ("torch", "numpy")}
    model.save(job.out, metrics=scores, seed=job.seed, versions=versions)
    return PartResult(scores)


def train_regressor_part(job: PartJob) -> PartResult:
    """Solve the box regressor again on the network as it is."""
    raise ModelError("The regressor cannot be trained on its own yet.")


def _progress(job: PartJob, step: int, share: float, loss: float) -> None:
    check_cancelled(job.should_cancel)
    job.tell("progress", step=step, share=share, loss=loss)


def _crops(job: PartJob, data: Dataset) -> list[BoxSample]:
    from napari_graydet.models.box_samples import crop_sample

    return [
        crop_sample(sample.image, sample.mask, roi, job.classes.index(sample.label), sample.label)
        for sample in job.samples(data)
        for roi in sample.rois
    ]


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
