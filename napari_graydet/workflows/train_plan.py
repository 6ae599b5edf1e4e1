"""Everything that can be wrong with a training, found out before there is a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_graydet.errors import DatasetError, ProjectError, WeightsError
from napari_graydet.io.weights import read_card
from napari_graydet.models.registry import Kind, shipped
from napari_graydet.project import splits
from napari_graydet.project.models import RANDOM, SHIPPED, ModelEntry, ModelRegistry
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows import dataset
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.events import ShouldCancel, check_cancelled
from napari_graydet.workflows.train_parts import Part, parts_of
from napari_graydet.workflows.train_request import TrainRequest
from napari_graydet.workflows.training_data import SMALLEST_PIXELS, SMALLEST_SHARE

STARTS_KIND = {"roi": "roi", "boxes": "boxes", "pointnet": "boxes", "refiner": "refiner"}
"""Which kind of weights a card's kind can start."""


@dataclass(frozen=True)
class Start:
    """Weights to start from (None: random ones), and their name in the entry."""

    path: Path | None
    parent: str


@dataclass(frozen=True)
class Plan:
    """A run that can begin: its data read and checked, its starts found.

    `starts` holds the weights that parts start from, and those in use that they work with.
    """

    request: TrainRequest
    parts: tuple[Part, ...]
    data: Dataset
    split: splits.Split
    starts: Mapping[Kind, Start]

    @property
    def sides(self) -> tuple[Dataset, Dataset]:
        """Training and validation images."""
        return self.data.subset(self.split.train), self.data.subset(self.split.validation)


def plan_run(
    request: TrainRequest,
    registry: ModelRegistry,
    should_cancel: ShouldCancel,
    resumed: ModelEntry | None = None,
) -> Plan:
    """Read and check everything that can be wrong before there is a run."""
    parts = parts_of(request.parts, request.preset)
    starts = _starts(parts, request, registry, resumed)
    data = _chosen(_read_data(request), request.classes)
    if resumed is not None and data.digest != resumed.data:
        raise ProjectError(
            f"The images or labels changed since model {resumed.id} began, so it cannot go on to "
            "the same weights; start a new training."
        )
    plan = Plan(request, parts, data, _split(request, data, resumed), starts)
    check_data(*plan.sides, should_cancel)
    return plan


def _read_data(request: TrainRequest) -> Dataset:
    if request.project is not None:
        with ProjectStore.open(Path(request.project)) as store:
            return dataset.from_project(store)
    assert request.images is not None and request.masks is not None  # checked by the request
    patients = request.patients
    return dataset.from_folders(
        Path(request.images),
        Path(request.masks),
        label=request.label,
        patients=Path(patients) if patients and Path(patients).is_file() else patients,
    )


def _chosen(data: Dataset, classes: tuple[str, ...] | None) -> Dataset:
    if classes is None:
        return data
    unknown = [name for name in classes if name not in data.classes]
    if unknown:
        raise DatasetError(
            f"No image is labelled {unknown[0]!r}, only {', '.join(data.classes)}; "
            "choose among these."
        )
    chosen = tuple(name for name in data.classes if name in classes)
    return Dataset(data.cases, chosen, data.notices)


def _split(request: TrainRequest, data: Dataset, resumed: ModelEntry | None) -> splits.Split:
    if resumed is not None and resumed.split is not None:
        note = resumed.split
        return splits.Split(note.train, note.validation, note.test, note.seed)
    seed, share = request.seed, request.validation
    if request.project is not None:
        folder = Path(request.project)
        split = splits.frozen(folder, data.patients, seed=seed, validation=share)
    else:
        split = splits.by_patient(data.patients, seed=seed, validation=share)
    if not split.train or not split.validation:
        raise DatasetError(
            f"Expected images to train on and held-out ones, got {len(split.train)} and "
            f"{len(split.validation)}; accept more images, of other patients."
        )
    return split


def _starts(
    parts: tuple[Part, ...],
    request: TrainRequest,
    registry: ModelRegistry,
    resumed: ModelEntry | None,
) -> dict[Kind, Start]:
    """Find what every part starts from, and what it works with that is not trained here."""
    needed = {kind for part in parts for kind in part.needs} - {part.kind for part in parts}
    if resumed is not None:
        kinds = [*(part.kind for part in parts), *sorted(needed)]
        return {kind: _start_again(kind, resumed, request, registry) for kind in kinds}
    starts = {part.kind: _start(part, parts, request.start, registry) for part in parts}
    return starts | {kind: _in_use(kind, registry) for kind in sorted(needed)}


def _start(
    part: Part, parts: tuple[Part, ...], start: str | None, registry: ModelRegistry
) -> Start:
    """Find the weights that a part starts from."""
    kind = part.kind
    if start == SHIPPED:
        return _shipped(kind) if len(parts) > 1 else Start(shipped(kind), SHIPPED)
    if start is not None and start.isdecimal():
        entry = registry.entry(start)
        if kind in entry.weights:
            return Start(registry.weights_path(entry.id, kind), entry.id)
        if not any(other.kind in entry.weights for other in parts):
            raise ProjectError(f"Model {start} has no weights of {kind}; start from another one.")
    elif start is not None:
        fits = _kind_of_file(Path(start))
        if fits == kind:
            return Start(Path(start), Path(start).name)
        if all(other.kind != fits for other in parts):
            raise WeightsError(
                f"{Path(start).name} can start the training of {fits}, not of {kind}; "
                "give weights of the part that is trained."
            )
    return _in_use(kind, registry)


def _in_use(kind: Kind, registry: ModelRegistry) -> Start:
    active = registry.active(kind)
    weights = registry.active_weights(kind)
    if active is None or weights is None:
        return _shipped(kind)
    return Start(weights, active.id)


def _shipped(kind: Kind) -> Start:
    """Return the shipped weights; a refiner can do without."""
    try:
        return Start(shipped(kind), SHIPPED)
    except WeightsError:
        if kind != "refiner":
            raise
        return Start(None, RANDOM)


def _start_again(
    kind: Kind, entry: ModelEntry, request: TrainRequest, registry: ModelRegistry
) -> Start:
    """Find the weights that an earlier run started from, or worked with."""
    parent = entry.parents.get(kind, SHIPPED)
    if parent == SHIPPED:
        return Start(shipped(kind), SHIPPED)
    if parent == RANDOM:
        return Start(None, RANDOM)
    if parent.isdecimal():
        return Start(registry.weights_path(parent, kind), parent)
    return Start(Path(request.start or parent), parent)


def _kind_of_file(path: Path) -> str:
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}; check its name.")
    if path.suffix == ".weights":
        return "roi"
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"A training starts from .safetensors or darknet's .weights, got {path.name}."
        )
    return STARTS_KIND[read_card(path).kind]


def check_data(train: Dataset, validation: Dataset, should_cancel: ShouldCancel) -> None:
    """Read every image once and refuse what nothing can be learned from, before anything starts.

    Raises
    ------
    ImageError, MaskError, ProjectError
        If a file cannot be read or a mask has another size.
    DatasetError
        If a class is in no training image, has only parts that are too small to count as objects
        there, or its masks always cover the whole image.
    """
    whole: dict[str, list[bool]] = {}
    seen: set[str] = set()
    objects: set[str] = set()
    for data in (train, validation):
        for case in data.cases:
            check_cancelled(should_cancel)
            for sample in case.samples():
                if sample.parts.any():
                    whole.setdefault(sample.label, []).append(bool(sample.parts.all()))
                    if data is train:
                        seen.add(sample.label)
                        objects |= {sample.label} if sample.rois else set()
    if missing := [label for label in train.classes if label not in seen]:
        raise DatasetError(
            f"Expected every class in the training images, but none of the {len(train.cases)} has "
            f"{' or '.join(missing)}; label more images of it, or leave it out (--classes)."
        )
    if small := [label for label in train.classes if label not in objects]:
        raise DatasetError(
            f"Expected objects of at least {SMALLEST_PIXELS} pixels and {SMALLEST_SHARE:.1%} of "
            f"their image, but all parts of {' or '.join(small)} in the {len(train.cases)} "
            "training images are smaller; crop the images, or draw an ROI around each object in a "
            "project."
        )
    for label, covers in whole.items():
        if all(covers):
            raise DatasetError(
                f"All {len(covers)} masks of {label!r} cover their whole image, so there is "
                "nothing to tell it from; give masks of the object alone."
            )
