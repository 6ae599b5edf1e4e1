"""The annotation record of one image: the single source of truth.

Records are frozen; an edit makes a new record (`model_copy(update=...)` through the helpers
below). They hold plain numbers, so that the JSON in the database, in exports and in the output of
`segment` is the same thing.
"""

from __future__ import annotations

import math
import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napari_graydet.core.boxes import MAX_NET, GrayBox
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import CleanUp, Residual, segment_mask

SCHEMA_VERSION = 1

Net = int | list[list[float]]
Source = Literal["model", "human"]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
Run = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]


class State(StrEnum):
    """Where an image stands."""

    NEW = "new"
    PROPOSED = "proposed"
    IN_WORK = "in work"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


def new_id() -> str:
    """Return a short random identifier, unique within a record."""
    return uuid.uuid4().hex[:12]


class Record(BaseModel):
    """Base of all records: frozen, and unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Extent(Record):
    x0: float
    y0: float
    x1: float
    y1: float

    @model_validator(mode="after")
    def _has_area(self) -> _Extent:
        RoiBox(self.x0, self.y0, self.x1, self.y1)
        return self

    @property
    def roi_box(self) -> RoiBox:
        """The extent as a core type."""
        return RoiBox(self.x0, self.y0, self.x1, self.y1)


class RoiRecord(_Extent):
    """A region of interest."""

    id: str = Field(default_factory=new_id)
    label: str
    score: Score | None = None
    source: Source = "human"
    model: str | None = None


class BoxRecord(_Extent):
    """A 3D box: extent in continuous pixels, bottom and top in stored units.

    `low` and `high` are one integer each (flat) or K rows of K numbers.
    """

    id: str = Field(default_factory=new_id)
    roi_id: str | None = None
    low: Net
    high: Net
    label: str
    score: Score | None = None
    source: Source = "human"
    model: str | None = None

    @field_validator("low", "high")
    @classmethod
    def _is_square(cls, net: Net) -> Net:
        if isinstance(net, list):
            if not 1 <= len(net) <= MAX_NET or any(len(row) != len(net) for row in net):
                raise ValueError(f"a net has K rows of K numbers, K from 1 to {MAX_NET}")
            if not all(math.isfinite(v) for row in net for v in row):
                raise ValueError("a net holds finite numbers")
        return net

    @model_validator(mode="after")
    def _is_a_box(self) -> BoxRecord:
        try:
            self.gray_box()
        except OverflowError:
            raise ValueError("no image has grays that large") from None
        return self

    def gray_box(self) -> GrayBox:
        """Return the box as a core type."""
        return GrayBox(self.roi_box, np.atleast_2d(self.low), np.atleast_2d(self.high))

    @staticmethod
    def nets_of(box: GrayBox) -> tuple[Net, Net]:
        """Return `low` and `high` of a core box as they are written in records."""
        if box.is_flat:
            return int(box.low[0, 0]), int(box.high[0, 0])
        return box.low.tolist(), box.high.tolist()

    def with_box(self, box: GrayBox) -> BoxRecord:
        """Return this record with another geometry."""
        low, high = self.nets_of(box)
        x0, y0, x1, y1 = box.roi.xyxy
        return self.model_copy(
            update={"x0": x0, "y0": y0, "x1": x1, "y1": y1, "low": low, "high": high}
        )


class CleanUpRecord(Record):
    """Clean-up of one label's box mask."""

    opening: Annotated[int, Field(ge=0, le=50)] = 0
    fill_holes: bool = False
    keep_largest: Annotated[int, Field(ge=0)] = 0
    min_area: Annotated[int, Field(ge=0)] = 0

    def core(self) -> CleanUp:
        """Return the clean-up as a core type."""
        return CleanUp(**self.model_dump())


class ResidualRecord(Record):
    """Run lengths (start, length; row-major) of added and erased pixels of one label."""

    added: tuple[Run, ...] = ()
    erased: tuple[Run, ...] = ()
    source: Source = "human"
    model: str | None = None

    def core(self) -> Residual:
        """Return the residual as a core type."""
        return Residual(self.added, self.erased)

    @classmethod
    def of(
        cls, residual: Residual, source: Source = "human", model: str | None = None
    ) -> ResidualRecord | None:
        """Return the record of a residual, None if it is empty."""
        if not residual:
            return None
        return cls(added=residual.added, erased=residual.erased, source=source, model=model)


class Annotation(Record):
    """All that is known about one image. An accepted one without boxes means "nothing here"."""

    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    state: State = State.NEW
    rois: tuple[RoiRecord, ...] = ()
    boxes: tuple[BoxRecord, ...] = ()
    cleanup: dict[str, CleanUpRecord] = Field(default_factory=dict)
    residual: dict[str, ResidualRecord] = Field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def has_human_work(self) -> bool:
        """Whether a person made or changed anything here; predictions must not overwrite it."""
        if self.state in (State.IN_WORK, State.ACCEPTED, State.REJECTED):
            return True
        sources = [
            *(roi.source for roi in self.rois),
            *(box.source for box in self.boxes),
            *(residual.source for residual in self.residual.values()),
        ]
        return "human" in sources

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that occur in boxes or residuals, in order of first appearance."""
        return tuple(dict.fromkeys((*(box.label for box in self.boxes), *self.residual)))

    def roi(self, roi_id: str) -> RoiRecord:
        """Return one ROI; KeyError if there is none of that id."""
        return _by_id(self.rois, roi_id)

    def box(self, box_id: str) -> BoxRecord:
        """Return one box; KeyError if there is none of that id."""
        return _by_id(self.boxes, box_id)

    def base_mask(self, pixels: npt.NDArray[np.integer], label: str) -> npt.NDArray[np.bool_]:
        """Return the (H, W) mask of a label from boxes and clean-up, without the residual."""
        boxes = [box.gray_box() for box in self.boxes if box.label == label]
        cleanup = self.cleanup.get(label)
        return segment_mask(pixels, boxes, cleanup.core() if cleanup else None)

    def mask(self, pixels: npt.NDArray[np.integer], label: str) -> npt.NDArray[np.bool_]:
        """Return the (H, W) final mask of a label: boxes, clean-up, residual."""
        residual = self.residual.get(label)
        base = self.base_mask(pixels, label)
        return residual.core().apply(base) if residual else base

    def label_map(
        self, pixels: npt.NDArray[np.integer], classes: list[str]
    ) -> npt.NDArray[np.uint8]:
        """Return the (H, W) map of class id + 1 (0 = background); later classes lie on top."""
        out = np.zeros(self.shape, dtype=np.uint8)
        for label in sorted(self.labels, key=classes.index):
            out[self.mask(pixels, label)] = classes.index(label) + 1
        return out


_T = TypeVar("_T", RoiRecord, BoxRecord)


def _by_id(items: tuple[_T, ...], item_id: str) -> _T:
    for item in items:
        if item.id == item_id:
            return item
    raise KeyError(item_id)


class ImageEntry(Record):
    """An image of a project, as lists show it: file, hash, state, revision. Not the annotation.

    `patient` is what the project's rule finds, for telling patients apart. It is never written:
    where a patient must have a name, that is `project.patients.people`.
    """

    id: int
    path: str
    sha256: str
    state: State
    revision: Annotated[int, Field(ge=0)]
    patient: str | None = Field(None, exclude=True, repr=False)


class RevisionEntry(Record):
    """One saved state of an image, without the annotation: who did what, when, from where.

    `kind` tells edits of a `History` and their undoing from everything else; `at` is UTC.
    """

    image_id: int
    revision: Annotated[int, Field(ge=1)]
    at: datetime
    who: str
    source: Source
    kind: Literal["save", "edit", "undo", "redo", "prediction"]
    action: str
    active_seconds: Annotated[float, Field(ge=0)]
    state: State
