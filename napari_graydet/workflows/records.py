"""The JSON record of one image, as `segment` and the export write it and `render` reads it.

One document holds all that the mask is made of, so that it can be made again bit for bit: boxes in
continuous pixels and stored gray values, clean-up, residual; and the image's file name and SHA-256,
so that it cannot be laid over another image. No folder, no DICOM tag, no patient.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import GraydetError, NewerSchemaError, ProjectError
from napari_graydet.io.files import read_bytes
from napari_graydet.project.schema import (
    SCHEMA_VERSION,
    Annotation,
    BoxRecord,
    CleanUpRecord,
    Net,
    Record,
    ResidualRecord,
    RoiRecord,
    Score,
    Source,
    State,
)

MAX_BYTES = 256 * 2**20
"""Largest record that is read: the run lengths of a noisy 100-megapixel mask fit well."""


_ITEM_KEYS = ("x0", "y0", "x1", "y1", "low", "high", "label", "score", "source", "model")


class _Item(Record):
    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    score: Score | None = None
    source: Source | None = None
    model: str | None = None


class RoiItem(_Item):
    """A region of interest of a record; `source` and `model` are written by exports only."""


class BoxItem(_Item):
    """A 3D box of a record; `low` and `high` are one integer, or K rows of K numbers."""

    low: Net
    high: Net


class ImageRecord(Record):
    """The JSON document of one image.

    Parameters
    ----------
    image, sha256, width, height, frame
        The image: file name, digest of its bytes, size in pixels, frame of a multi-frame file.
    rois, boxes, cleanup, residual
        What the mask is made of; `cleanup` and `residual` by label, or null.
    classes
        Names of the label ids of a mask with several classes: the first has id 1.
    models
        Names of the models that proposed `rois` and `boxes`, null where none was used.
    state
        Where the annotation stands, exports only.
    """

    schema_version: Annotated[int, Field(alias="schema", ge=1)] = SCHEMA_VERSION
    kind: Literal["napari-graydet record"] = "napari-graydet record"
    image: str
    sha256: str
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    frame: Annotated[int, Field(ge=0)] = 0
    rois: tuple[RoiItem, ...] = ()
    boxes: tuple[BoxItem, ...] = ()
    cleanup: dict[str, CleanUpRecord] | None = None
    residual: dict[str, ResidualRecord] | None = None
    classes: tuple[str, ...] = ()
    models: dict[str, str | None] = Field(default_factory=dict)
    notices: tuple[str, ...] = ()
    state: State | None = None

    @classmethod
    def of(
        cls,
        annotation: Annotation,
        *,
        image: str,
        sha256: str,
        classes: Sequence[str],
        frame: int = 0,
        provenance: bool = False,
        **fields: Any,
    ) -> ImageRecord:
        """Make the document of an annotation; `provenance` adds who made each part."""
        keep = set(_ITEM_KEYS) - (set() if provenance else {"source", "model"})
        return cls(
            image=Path(image).name,
            sha256=sha256,
            width=annotation.width,
            height=annotation.height,
            frame=frame,
            rois=tuple(RoiItem(**roi.model_dump(include=keep)) for roi in annotation.rois),
            boxes=tuple(BoxItem(**box.model_dump(include=keep)) for box in annotation.boxes),
            cleanup=dict(annotation.cleanup) or None,
            residual=dict(annotation.residual) or None,
            classes=tuple(classes),
            **fields,
        )

    def document(self) -> dict[str, Any]:
        """Return the document as plain JSON types, in the order of DESIGN.md."""
        data = self.model_dump(mode="json", by_alias=True, exclude={"state", "rois", "boxes"})
        items = {
            "rois": [_ordered(roi) for roi in self.rois],
            "boxes": [_ordered(box) for box in self.boxes],
        }
        order = ("image", "sha256", "width", "height", "frame", "rois", "boxes")
        head = {key: items.get(key, data.get(key)) for key in order}
        tail = {key: value for key, value in data.items() if key not in head}
        return head | tail | ({"state": self.state.value} if self.state else {})

    def text(self) -> str:
        """Return the document as JSON text, one line per ROI and box."""
        return to_json(self.document())

    def annotation(self) -> Annotation:
        """Return the annotation that the document describes."""
        return Annotation(
            width=self.width,
            height=self.height,
            state=self.state or State.PROPOSED,
            rois=tuple(RoiRecord(**_known(item)) for item in self.rois),
            boxes=tuple(BoxRecord(**_known(item)) for item in self.boxes),
            cleanup=self.cleanup or {},
            residual=self.residual or {},
        )

    def check_image(self, image: GrayImage) -> None:
        """Raise `ProjectError` unless the record was made for this very image."""
        if image.sha256 and image.sha256 != self.sha256:
            raise ProjectError(
                f"The record was made for another file named {self.image} (its SHA-256 differs "
                f"from that of {image.name}); give the original image."
            )
        if image.shape != (self.height, self.width):
            raise ProjectError(
                f"The record is for a {self.width} x {self.height} image, {image.name} has "
                f"{image.width} x {image.height}; give the original image."
            )


def _ordered(item: _Item) -> dict[str, Any]:
    """Return an item as plain JSON types, the geometry first."""
    data = item.model_dump(mode="json", exclude_unset=True)
    return {key: data[key] for key in _ITEM_KEYS if key in data}


def _known(item: _Item) -> dict[str, Any]:
    return {key: value for key, value in item.model_dump().items() if value is not None}


def to_json(document: Mapping[str, Any]) -> str:
    """Return indented JSON text in which each element of a list of objects stands on one line."""
    lines = []
    for key, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            text = f"[\n{rows}\n  ]"
        else:
            text = json.dumps(value)
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_record(path: Path) -> ImageRecord:
    """Read a JSON record.

    Raises
    ------
    ProjectError
        If the file is missing, no record, or damaged.
    NewerSchemaError
        If it was written by a newer version.
    """
    data = _load(path)
    version = data.get("schema")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path.name} has schema {version}, this version reads up to {SCHEMA_VERSION}; "
            "update napari-graydet."
        )
    try:
        record = ImageRecord.model_validate(data)
        record.annotation()
    except (ValidationError, GraydetError) as error:
        raise ProjectError(
            f"{path.name} is not a napari-graydet record: {_first(error)}."
        ) from None
    return record


def _load(path: Path) -> dict[str, Any]:
    content = read_bytes(path, max_bytes=MAX_BYTES, error=ProjectError, limit_error=ProjectError)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        raise ProjectError(f"{path.name} is not JSON, or damaged.") from None
    if not isinstance(data, dict):
        raise ProjectError(f"{path.name} holds no record (a JSON object), but another JSON value.")
    return data


def _first(error: ValidationError | GraydetError) -> str:
    if isinstance(error, ValidationError):
        detail = error.errors()[0]
        place = ".".join(str(part) for part in detail["loc"])
        return f"{place or 'the document'}: {detail['msg']}"
    return str(error).rstrip(".")
