"""Everything that can be wrong with a training, found out before there is a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from napari_graydet.errors import DatasetError, ProjectError
from napari_graydet.io.weights import WeightsKind
from napari_graydet.project import splits
from napari_graydet.project.model_entry import ModelEntry
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows import dataset
from napari_graydet.workflows.data_checks import check_data
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.events import ShouldCancel
from napari_graydet.workflows.patients import patients_option
from napari_graydet.workflows.training.parts import Part, parts_of
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.starts import Start, find_starts, learned_from, try_starts


@dataclass(frozen=True)
class Plan:
    """A run that can begin: its data read and checked, its starts found.

    `starts` holds the weights that parts start from, and those in use that they work with.
    """

    request: TrainRequest
    parts: tuple[Part, ...]
    data: Dataset
    split: splits.Split
    starts: Mapping[WeightsKind, Start]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the data and the starts."""
        starts = (start.notice for start in self.starts.values())
        return (*self.data.notices, *(notice for notice in starts if notice is not None))

    @property
    def sides(self) -> tuple[Dataset, Dataset]:
        """Training and validation images."""
        return self.data.subset(self.split.train), self.data.subset(self.split.validation)


def keep_rule(request: TrainRequest) -> tuple[str, ...]:
    """Let the project keep a rule of patients that comes with a new training.

    Returns
    -------
    tuple of str
        What the user should know, whatever becomes of the training: the rule is kept.
    """
    if request.project is None or request.patients is None:
        return ()
    with ProjectStore.open(Path(request.project)) as store:
        return store.set_patients(request.patients)


def plan_run(
    request: TrainRequest,
    registry: ModelRegistry,
    should_cancel: ShouldCancel,
    resumed: ModelEntry | None = None,
) -> Plan:
    """Read and check everything that can be wrong before there is a run."""
    from napari_graydet.models.device import choose_device

    choose_device(request.device)
    parts = parts_of(request.parts, request.preset)
    starts = find_starts(parts, request, registry, resumed)
    if request.project is not None:  # the project knows whose its images are, see `keep_rule`
        request = request.model_copy(update={"patients": None})
    data = _chosen(_read_data(request, resumed is None), request.classes)
    if resumed is not None:
        data = _as_it_was(data, resumed)
    learned = learned_from(starts, request, registry)
    split, torn = _split(request, data, resumed, learned)
    data = replace(data, notices=(*torn, *data.notices))
    plan = Plan(request, parts, data, split, starts)
    notices = check_data(*plan.sides, should_cancel, resumed=resumed is not None)
    if resumed is None:
        try_starts(parts, starts, request, data.classes)
    return replace(plan, data=replace(data, notices=(*data.notices, *notices)))


def _as_it_was(data: Dataset, resumed: ModelEntry) -> Dataset:
    """Return what a run began with; images that were accepted since wait for the next run."""
    split = resumed.split
    names = {c.name for c in data.cases}
    if split is not None:
        names &= {*split.train, *split.validation, *split.test}
    known = replace(data.subset(names), classes=resumed.classes)
    if known.digest != resumed.data:
        raise ProjectError(
            f"The images or labels changed since model {resumed.id} began, so it cannot go on to "
            "the same weights; start a new training."
        )
    return known


def _read_data(request: TrainRequest, anew: bool) -> Dataset:
    """Read what is asked for; a run that goes on needs all that it began with."""
    if request.project is not None:
        with ProjectStore.open(Path(request.project)) as store:
            return dataset.from_project(store, present=anew)
    assert request.images is not None and request.masks is not None  # checked by the request
    return dataset.from_folders(
        Path(request.images),
        Path(request.masks),
        label=request.label,
        patients=patients_option(request.patients),
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
    return replace(data, classes=chosen)


def _split(
    request: TrainRequest, data: Dataset, resumed: ModelEntry | None, learned: Collection[str]
) -> tuple[splits.Split, tuple[str, ...]]:
    """Return who is held out, and what the user should know of that."""
    if resumed is not None and resumed.split is not None:
        note = resumed.split
        return splits.Split(note.train, note.validation, note.test, note.seed), ()
    seed, share = request.seed, request.validation
    if request.project is None:
        drawn = splits.by_patient(data.patients, seed=seed, validation=share, learned=learned)
        return _checked(drawn), ()
    folder = Path(request.project)
    torn = splits.reunite(folder, {**data.others, **data.patients})
    empty = {c.name for c in data.cases if c.labels is not None and not c.labels & {*data.classes}}
    split = splits.frozen(
        folder, data.patients, seed=seed, validation=share, others=data.others, empty=empty
    )
    anew = (
        f", or delete {splits.FILE_NAME} to have them drawn anew, and then train with --start "
        "shipped, since earlier models know all patients"
    )
    _check_unseen(split, learned)
    return _checked(split, "" if split.validation else anew), () if torn is None else (torn.notice,)


def _check_unseen(split: splits.Split, learned: Collection[str]) -> None:
    """Refuse to hold out what the start knows: it happens where `splits.json` was deleted."""
    seen = [name for name in split.validation if name in learned]
    if seen:
        raise DatasetError(
            f"{len(seen)} of the {len(split.validation)} held-out images (such as {seen[0]}) were "
            "learned from by the model that this training starts from, so they cannot judge the "
            "new one; train with --start shipped, or put the shipped model in use first."
        )


def _checked(split: splits.Split, other_way: str = "") -> splits.Split:
    if not split.train or not split.validation:
        raise DatasetError(
            f"Expected images to train on and held-out ones, got {len(split.train)} and "
            f"{len(split.validation)}; accept more images, of other patients{other_way}."
        )
    return split
