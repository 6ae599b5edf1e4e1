"""What a training starts from: found, and tried, before there is a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_graydet.errors import ProjectError, WeightsError
from napari_graydet.io.weights import SHIPPED, WeightsKind, read_card
from napari_graydet.models.loading import shipped
from napari_graydet.project.model_entry import RANDOM, ModelEntry
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.training.parts import NOT_FROM_COCO, Part
from napari_graydet.workflows.training.request import TrainRequest

STARTS_KIND = {"roi": "roi", "boxes": "boxes", "pointnet": "boxes", "refiner": "refiner"}
"""Which kind of weights a card's kind can start."""

OTHER_PRESET = (
    "The {kind} in use (model {id}) are of preset {used}; this training starts from the shipped "
    "ones."
)


@dataclass(frozen=True)
class Start:
    """Weights to start from (None: random ones), their name in the entry, and what to know."""

    path: Path | None
    parent: str
    notice: str | None = None


def find_starts(
    parts: tuple[Part, ...],
    request: TrainRequest,
    registry: ModelRegistry,
    resumed: ModelEntry | None,
) -> dict[WeightsKind, Start]:
    """Find what every part starts from, and what it works with that is not trained here.

    Raises
    ------
    ProjectError, WeightsError
        If something asked for is not there, or starts none of the parts.
    """
    needed = sorted({kind for part in parts for kind in part.needs} - {p.kind for p in parts})
    if resumed is not None:
        kinds = [*(part.kind for part in parts), *needed]
        return {kind: _again(kind, resumed, request, registry) for kind in kinds}
    asked = _asked(parts, request.start, registry)
    starts = {p.kind: asked.get(p.kind) or _by_default(p, request, registry) for p in parts}
    return starts | {kind: _in_use(kind, registry) for kind in needed}


def try_starts(
    parts: Sequence[Part],
    starts: Mapping[WeightsKind, Start],
    request: TrainRequest,
    classes: tuple[str, ...],
) -> None:
    """Refuse weights that a part cannot start from; every part loads them as its training will.

    Raises
    ------
    WeightsError, ModelError
        If they are damaged, or of another network.
    """
    for part in parts:
        path = starts[part.kind].path
        if path is not None:
            part.try_start(path, request.preset, classes)


def learned_from(
    starts: Mapping[WeightsKind, Start], request: TrainRequest, registry: ModelRegistry
) -> frozenset[str]:
    """Return the names of all images that the starts, and what they started from, learned from.

    A model that was deleted, and one from elsewhere, cannot be asked any more.
    """
    names: set[str] = set()
    asked: set[str] = set()
    waiting = [start.parent for start in starts.values()]
    while waiting:
        parent = waiting.pop()
        if parent in asked or not parent.isdecimal() or not registry.run_folder(parent).exists():
            continue
        asked.add(parent)
        entry = registry.entry(parent)
        waiting += entry.parents.values()
        if entry.split is not None and _same_images(entry, request, registry):
            names |= {*entry.split.train}
    return frozenset(names)


def _same_images(entry: ModelEntry, request: TrainRequest, registry: ModelRegistry) -> bool:
    """Tell whether a run's images were those of a request: names say nothing between folders."""
    folder = entry.request.get("images")
    if folder is None or request.images is None:
        return folder is request.images
    return os.path.realpath(registry.folder / str(folder)) == os.path.realpath(request.images)


def _asked(
    parts: tuple[Part, ...], starts: tuple[str, ...], registry: ModelRegistry
) -> dict[WeightsKind, Start]:
    """Return what was asked for by kind; files, which say more, go before models."""
    kinds = [part.kind for part in parts]
    found: dict[WeightsKind, Start] = {}
    for start in sorted(starts, key=lambda name: name == SHIPPED or name.isdecimal()):
        fits = _fitting(start, kinds, registry)
        if not fits.keys() - found.keys():
            raise WeightsError(
                f"{Path(start).name} is one start too many: there is another one for each part "
                "that it fits; give one start a part."
            )
        found = fits | found
    return found


def _fitting(
    start: str, kinds: Sequence[WeightsKind], registry: ModelRegistry
) -> dict[WeightsKind, Start]:
    """Return what one start is for, by kind."""
    if start == SHIPPED:
        alone = len(kinds) == 1  # with others, a refiner can do without
        return {k: Start(shipped(k), SHIPPED) if alone else _shipped(k) for k in kinds}
    if start.isdecimal():
        entry = registry.entry(start)
        fits = [kind for kind in kinds if kind in entry.weights]
        if not fits:
            raise ProjectError(
                f"Model {start} has no weights of {' or '.join(kinds)}; start from another one."
            )
        return {kind: Start(registry.weights_path(entry.id, kind), entry.id) for kind in fits}
    path = Path(start)
    kind = _kind_of_file(path)
    if kind not in kinds:
        raise WeightsError(
            f"{path.name} can start the training of {kind}, not of {' or '.join(kinds)}; "
            "give weights of the part that is trained."
        )
    return {one: Start(path, path.name) for one in kinds if one == kind}


def _by_default(part: Part, request: TrainRequest, registry: ModelRegistry) -> Start:
    """Return the weights in use, else the shipped ones, where the preset can start from them."""
    if part.name == "boxes" and request.preset == "paper":
        return Start(None, RANDOM)  # the paper's PointNet was pretrained, on shapes
    start = _in_use(part.kind, registry)
    if part.name == "roi" and request.preset == "paper":
        return replace(start, notice=NOT_FROM_COCO)
    active = registry.active(part.kind)
    if part.name == "boxes" and active is not None and active.preset != request.preset:
        notice = OTHER_PRESET.format(kind=part.kind, id=active.id, used=active.preset)
        return replace(_shipped(part.kind), notice=notice)
    return start


def _in_use(kind: WeightsKind, registry: ModelRegistry) -> Start:
    active = registry.active(kind)
    weights = registry.active_weights(kind)
    if active is None or weights is None:
        return _shipped(kind)
    return Start(weights, active.id)


def _shipped(kind: WeightsKind) -> Start:
    """Return the shipped weights; a refiner can do without."""
    try:
        return Start(shipped(kind), SHIPPED)
    except WeightsError:
        if kind != "refiner":
            raise
        return Start(None, RANDOM)


def _again(
    kind: WeightsKind, entry: ModelEntry, request: TrainRequest, registry: ModelRegistry
) -> Start:
    """Find the weights that an earlier run started from, or worked with."""
    parent = entry.parents.get(kind, SHIPPED)
    if parent == SHIPPED:
        return Start(shipped(kind), SHIPPED)
    if parent == RANDOM:
        return Start(None, RANDOM)
    if parent.isdecimal():
        return Start(registry.weights_path(parent, kind), parent)
    given = [Path(start) for start in request.start if Path(start).name == parent]
    return Start((given or [Path(parent)])[0], parent)


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
