"""A record -> the mask, bit for bit, and how much of it the gray range explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.segmentation import explained_share
from napari_graydet.errors import ProjectError
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import write_mask
from napari_graydet.project.schema import Annotation, State
from napari_graydet.workflows.events import IMAGE_ERRORS, Failure, one_line
from napari_graydet.workflows.names import distinct_names, keep_images, keep_masks
from napari_graydet.workflows.project_images import read_entry
from napari_graydet.workflows.records import ImageRecord, read_record

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore

MAX_CLASSES = 255
"""Label ids are bytes, 0 being the background."""

WITH_MASK = (State.PROPOSED, State.IN_WORK, State.ACCEPTED)


@dataclass(frozen=True)
class LabelShare:
    """How one label's mask came about.

    Parameters
    ----------
    label
        The class.
    pixels
        Size of the final mask.
    explained
        IoU of the boxes' mask (with clean-up) and the final mask: the share that the gray range
        explains; the rest is painted.
    added, erased
        Painted pixels that differ from the boxes' mask.
    """

    label: str
    pixels: int
    explained: float
    added: int
    erased: int


@dataclass(frozen=True, eq=False)
class Rendering:
    """The mask of one image: (H, W) uint8, 0/255 or label ids, with the share of each label."""

    mask: npt.NDArray[np.uint8]
    shares: tuple[LabelShare, ...]


def render(
    image: GrayImage, annotation: Annotation, classes: list[str], *, ids: bool | None = None
) -> Rendering:
    """Make the mask of an annotation.

    Parameters
    ----------
    image
        The image, stored values.
    annotation
        Its record.
    classes
        Label ids are places in this list + 1.
    ids
        Write label ids (True) or 0/255 (False); None: ids where several labels occur.

    Raises
    ------
    MaskError
        If the residual does not fit.
    ProjectError
        If a label is not in `classes`, or there are too many classes for a byte.
    """
    labels = (*annotation.labels, *(roi.label for roi in annotation.rois))
    unknown = [label for label in labels if label not in classes]
    if unknown:
        raise ProjectError(f"The record has the class {unknown[0]!r}, its class list has not.")
    if len(classes) > MAX_CLASSES:
        raise ProjectError(f"A mask holds at most {MAX_CLASSES} classes, got {len(classes)}.")
    several = len(annotation.labels) > 1 if ids is None else ids
    label_map = annotation.label_map(image.pixels, classes)
    mask = label_map if several else (label_map > 0).astype(np.uint8) * 255
    shares = tuple(_share(image, annotation, label) for label in annotation.labels)
    return Rendering(mask, shares)


def _share(image: GrayImage, annotation: Annotation, label: str) -> LabelShare:
    base = annotation.base_mask(image.pixels, label)
    mask = annotation.mask(image.pixels, label)
    return LabelShare(
        label=label,
        pixels=int(np.count_nonzero(mask)),
        explained=explained_share(base, mask),
        added=int(np.count_nonzero(mask & ~base)),
        erased=int(np.count_nonzero(base & ~mask)),
    )


@dataclass(frozen=True)
class Rendered:
    """One mask file that was written, and the shares of its labels."""

    image: str
    path: Path
    shares: tuple[LabelShare, ...]


def render_record(record_path: Path, out: Path, images: Path | None = None) -> Rendered:
    """Render a JSON record to ``OUT/<stem>.png``.

    Parameters
    ----------
    record_path
        The record.
    out
        Folder for the mask.
    images
        The image or its folder; None looks beside the record.

    Raises
    ------
    ProjectError, ImageError, MaskError
        If record or image is missing, damaged, or does not belong to the other.
    ExportError
        If the mask would take the image's place, or that of a mask that a person made.
    """
    record = read_record(record_path)
    source = _image_file(record, record_path, images)
    path = out / f"{record_path.stem}.png"
    keep_images([path], [source])
    keep_masks([path])
    image = read_image(source, frame=record.frame)
    record.check_image(image)
    annotation = record.annotation()
    classes = list(record.classes) or sorted(annotation.labels)
    ids = len(classes) > 1 if record.state is not None else None
    rendering = render(image, annotation, classes, ids=ids)
    out.mkdir(parents=True, exist_ok=True)
    write_mask(path, rendering.mask, signed=True)
    return Rendered(record.image, path, rendering.shares)


def _image_file(record: ImageRecord, record_path: Path, images: Path | None) -> Path:
    place = images or record_path.parent
    # A record comes from elsewhere: only the bare file name is followed, never a folder in it.
    path = place / PurePath(record.image.replace("\\", "/")).name if place.is_dir() else place
    if not path.is_file():
        raise ProjectError(
            f"The image {record.image} of {record_path.name} is not in {place}; "
            "say where it is with --images."
        )
    return path


def render_project(store: ProjectStore, out: Path) -> Iterator[Rendered | Failure]:
    """Render each image that has a proposal, work or an accepted annotation, one by one.

    With several classes in the project all masks hold label ids (class id + 1), else 0/255.

    Raises
    ------
    ExportError
        If a mask would take an image's place, or that of a mask that a person made; nothing is
        written then.
    """
    entries = [entry for entry in store.entries() if entry.state in WITH_MASK]
    classes, names = list(store.classes), distinct_names([e.path for e in entries])
    images = [store.image_path(entry.id) for entry in store.entries()]
    targets = [out / f"{name}.png" for name in names]
    keep_images(targets, images)
    keep_masks(targets)
    out.mkdir(parents=True, exist_ok=True)
    for entry, path in zip(entries, targets, strict=True):
        file_name = PurePath(entry.path).name
        try:
            annotation, _ = store.annotation(entry.id)
            image = read_entry(store, entry)
            rendering = render(image, annotation, classes, ids=len(classes) > 1)
        except IMAGE_ERRORS as error:
            yield Failure(file_name, one_line(error), entry.id)
            continue
        write_mask(path, rendering.mask, signed=True)
        yield Rendered(file_name, path, rendering.shares)
