"""The simple rivals as box detectors: a gray range from the ROI's histogram, without a network.

They are used like `BoxDetector`, saved as safetensors with a card, and loaded by its architecture;
"otsu" and "multi-otsu" need no training and can be asked for by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

import numpy as np

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import LEVELS, GrayImage
from napari_graydet.core.histogram import level_counts
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.core.rivals import (
    ConstantRange,
    CountedRoi,
    HistogramRidge,
    IntervalMethod,
    Otsu,
    separability,
)
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError
from napari_graydet.io.weights import Tensors, WeightsCard, read_card
from napari_graydet.models.asked_classes import asked_classes
from napari_graydet.models.stored import StoredModel

if TYPE_CHECKING:
    from napari_graydet.models.boxes.samples import BoxSample

IntervalKind = Literal["otsu", "multi-otsu", "constant", "ridge"]
KINDS: tuple[IntervalKind, ...] = get_args(IntervalKind)

UNTRAINED: tuple[IntervalKind, ...] = ("otsu", "multi-otsu")
"""Kinds that work without training: they take the brightest band."""

ANY_CLASS = "object"
"""The one class of an untrained method; the ROI's label is used in its place."""

DRAWS = 1200
"""Disturbed ROIs that a method learns from."""

_PREFIX, _VERSION = "interval-", 1
_BANDS = {"otsu": 2, "multi-otsu": 3}


def architecture_of(kind: IntervalKind) -> str:
    """Return the architecture that stands on the card of a kind's weights."""
    return f"{_PREFIX}{kind}-{_VERSION}"


def is_interval(architecture: str) -> bool:
    """Tell whether a card's architecture is one of these methods, of whatever version."""
    return architecture.startswith(_PREFIX)


@dataclass(frozen=True, eq=False)
class IntervalModel(StoredModel):
    """A fitted rival and its class names: what a weights file holds."""

    weights_kind: ClassVar[Literal["boxes"]] = "boxes"
    architectures: ClassVar[tuple[str, ...]] = tuple(architecture_of(kind) for kind in KINDS)
    described: ClassVar[str] = f"an interval method ({', '.join(KINDS)})"

    kind: IntervalKind
    method: IntervalMethod
    classes: tuple[str, ...]

    @property
    def architecture(self) -> str:
        """Name of this rival on the card."""
        return architecture_of(self.kind)

    def to_tensors(self) -> Tensors:
        """Return what was fitted."""
        return _tensors_of(self.method)

    @classmethod
    def from_tensors(cls, tensors: Tensors, card: WeightsCard) -> Self:
        """Build the model; see `StoredModel.from_tensors`."""
        kinds = {architecture_of(kind): kind for kind in KINDS}
        kind = kinds[card.architecture]
        return cls(kind, _method_of(kind, tensors, len(card.classes)), tuple(card.classes))


def _tensors_of(method: IntervalMethod) -> Tensors:
    if isinstance(method, Otsu):
        return {"ranking": np.array(method.ranking, dtype=np.int64)}
    if isinstance(method, ConstantRange):
        return {"edges": method.edges}
    if isinstance(method, HistogramRidge):
        in_quantiles = np.array(method.in_quantiles)
        return {"coef": method.regressor.coef, "in_quantiles": in_quantiles}
    raise ModelError(f"{type(method).__name__} cannot be saved.")


def _method_of(kind: IntervalKind, tensors: Tensors, n_classes: int) -> IntervalMethod:
    method: IntervalMethod
    if kind in _BANDS:
        ranking = tensors["ranking"].tolist()
        method = Otsu(_BANDS[kind], tuple(tuple((a, b) for a, b in runs) for runs in ranking))
        size = len(ranking)
    elif kind == "constant":
        edges = np.asarray(tensors["edges"], dtype=np.float64)
        method, size = ConstantRange(edges), len(edges)
    else:
        coef = np.asarray(tensors["coef"], dtype=np.float64)
        in_quantiles = tuple(tensors["in_quantiles"].tolist())
        method, size = HistogramRidge(RidgeRegressor(coef), in_quantiles), len(coef)
    if size != n_classes:
        raise ValueError(f"made for {size} classes, expected {n_classes}")
    # a wrong shape or a band that is not there shows here, not in the middle of a folder
    for class_id in range(n_classes):
        method.ranges_of(np.ones(LEVELS, dtype=np.int64), class_id)
    return method


def fit_interval(
    kind: IntervalKind, samples: Sequence[BoxSample], classes: Sequence[str], seed: int
) -> IntervalModel:
    """Fit a rival to the ROIs that the box detector learns from, disturbed in the same way.

    Parameters
    ----------
    kind
        "otsu", "multi-otsu", "constant" or "ridge".
    samples
        Parts to learn from.
    classes
        Class names by id.
    seed
        Of the disturbances.

    Raises
    ------
    ModelError
        If the kind is unknown, or a class has no sample.
    """
    if kind not in KINDS:
        raise ModelError(f"Expected an interval method out of {', '.join(KINDS)}, got {kind!r}.")
    return fit_intervals(samples, classes, seed, kinds=(kind,))[0]


def fit_intervals(
    samples: Sequence[BoxSample],
    classes: Sequence[str],
    seed: int,
    *,
    kinds: Sequence[IntervalKind] = KINDS,
) -> list[IntervalModel]:
    """Fit several rivals to the same disturbed ROIs; see `fit_interval`."""
    rois = _drawn(samples, np.random.default_rng(seed))
    return [
        IntervalModel(kind, _fitted(kind, rois, len(classes)), tuple(classes)) for kind in kinds
    ]


def _fitted(kind: IntervalKind, rois: Sequence[CountedRoi], n_classes: int) -> IntervalMethod:
    if kind in _BANDS:
        return Otsu.fit(rois, n_classes, _BANDS[kind])
    if kind == "constant":
        return ConstantRange.fit(rois, n_classes)
    return HistogramRidge.fit(rois, n_classes)


def _drawn(samples: Sequence[BoxSample], rng: np.random.Generator) -> list[CountedRoi]:
    """Draw disturbed ROIs, every group equally often, half of them with their grays as they are.

    Draws of one sample follow one another, so that blocks of them share no sample (but at most
    one), and every block holds all groups.
    """
    from napari_graydet.models.boxes.samples import Disturbance, draw_roi

    groups: dict[str, list[BoxSample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    each = DRAWS // len(groups) if groups else 0
    disturbances = (Disturbance.of_roi_only(), Disturbance())
    drawn = [
        draw_roi(members[number * len(members) // each], 1, disturbances[number % 2], rng)
        for number in range(each)
        for members in groups.values()
    ]
    return [roi for roi in drawn if roi is not None]


class IntervalDetector:
    """Finds flat boxes in ROIs as `BoxDetector` does, from the histogram alone.

    Parameters
    ----------
    model
        What was fitted.
    name
        For records and the window.
    """

    def __init__(self, model: IntervalModel, *, name: str) -> None:
        self.model = model
        self.name = name

    @classmethod
    def load(cls, path: Path) -> IntervalDetector:
        """Read weights; errors as for `IntervalModel.load`."""
        model = IntervalModel.load(path)
        return cls(model, name=f"{model.kind} {read_card(path).sha256[:8]}")

    @classmethod
    def untrained(cls, kind: IntervalKind) -> IntervalDetector:
        """Return Otsu or multi-Otsu as it is, with the brightest band first.

        Raises
        ------
        ModelError
            If the kind needs training.
        """
        if kind not in UNTRAINED:
            raise ModelError(f"{kind!r} has to be trained; choose out of {', '.join(UNTRAINED)}.")
        model = IntervalModel(kind, Otsu.untrained(_BANDS[kind]), (ANY_CLASS,))
        return cls(model, name=kind)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes it knows."""
        return self.model.classes

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Propose 3D boxes in an ROI.

        Parameters
        ----------
        image, roi
            Where; the ROI is clipped to the image.
        label
            Look for this class only; None for all.
        alternatives
            How many more boxes than the best one to return at most.

        Returns
        -------
        Flat boxes over the ROI in stored units, the best of every class before the second best.
        The score is the share of the ROI's gray variance that the range explains (Otsu's eta):
        these methods don't know how sure they are.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        ModelError
            If the ROI has one gray only, or the label is unknown.
        """
        asked = asked_classes(self.name, self.labels, label)
        extent = roi.clip(image.shape)
        counts = level_counts(image, extent)
        found: list[tuple[int, float, BoxProposal]] = []
        for class_id in asked:
            for rank, gray in enumerate(self.model.method.ranges_of(counts, class_id)):
                score = separability(counts, gray)
                bottom, top = (edge / LEVELS for edge in gray.edges)
                box = GrayBox.flat(extent, image.scale.range_from_unit(bottom, top))
                found.append((rank, -score, BoxProposal(box, self.labels[class_id], score)))
        found.sort(key=lambda row: row[:2])
        return [proposal for _, _, proposal in found[: alternatives + 1]]
