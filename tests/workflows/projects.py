"""A small project with work of every kind, for tests of export and render."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.segmentation import Residual
from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    CleanUpRecord,
    ResidualRecord,
    RoiRecord,
    State,
)
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.project_images import read_entry

CLASSES = ["bone", "lung"]
SHAPE = (40, 60)


def make_project(folder: Path, count: int = 6, classes: list[str] = CLASSES) -> ProjectStore:
    """A project of noise images, the odd ones 16 bit, all new."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        top, dtype = (65536, np.uint16) if number % 2 else (256, np.uint8)
        pixels = rng.integers(0, top, SHAPE).astype(dtype)
        paths.append(folder / f"image{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return ProjectStore.create(folder, classes, paths)


def annotated(image: GrayImage, state: State, *, painted: bool = True) -> Annotation:
    """A bone by a flat box, a lung by a tilted one, and a brush stroke."""
    top = int(image.pixels.max())
    bone = RoiRecord(x0=2.5, y0=3, x1=25, y1=36, label="bone")
    lung = RoiRecord(x0=28, y0=1, x1=58.5, y1=39, label="lung")
    flat = BoxRecord(
        roi_id=bone.id, x0=2.5, y0=3, x1=25, y1=36, low=top // 3, high=top, label="bone"
    )
    tilt = BoxRecord(
        roi_id=lung.id,
        x0=28,
        y0=1,
        x1=58.5,
        y1=39,
        low=[[0, top * 0.1], [top * 0.2, top * 0.3]],
        high=[[top * 0.6, top * 0.7], [top * 0.7, top * 0.9]],
        label="lung",
    )
    record = Annotation(
        width=image.width,
        height=image.height,
        state=state,
        rois=(bone, lung),
        boxes=(flat, tilt),
        cleanup={"bone": CleanUpRecord(min_area=2)},
    )
    return paint(record, image) if painted else record


def paint(record: Annotation, image: GrayImage) -> Annotation:
    base = record.base_mask(image.pixels, "bone")
    target = base.copy()
    target[10:14, 4:20] = True
    target[20:23, 4:20] = False
    residual = ResidualRecord.of(Residual.between(base, target))
    assert residual is not None
    return record.model_copy(update={"residual": {"bone": residual}})


def save(store: ProjectStore, image_id: int, record: Annotation) -> None:
    _, revision = store.annotation(image_id, record.shape)
    store.save(image_id, record, expected_revision=revision, source="human", action="test")


def fill(store: ProjectStore) -> dict[int, Annotation]:
    """Accept three images, the third as "nothing here"; leave others in other states."""
    states = [State.ACCEPTED, State.ACCEPTED, State.ACCEPTED, State.IN_WORK, State.REJECTED]
    records = {}
    for number, (entry, state) in enumerate(zip(store.entries(), states, strict=False)):
        image = read_entry(store, entry)
        record = annotated(image, state)
        if number == 2:
            record = Annotation(width=image.width, height=image.height, state=state)
        save(store, entry.id, record)
        records[entry.id] = record
    return records


def study(folder: Path, count: int = 12) -> Path:
    """A project of accepted images."""
    with make_project(folder, count) as store:
        for entry in store.entries():
            save(store, entry.id, annotated(read_entry(store, entry), State.ACCEPTED))
    return folder


def table_of(folder: Path, count: int = 12, each: int = 2) -> Path:
    """A table in which every `each` images are of one patient."""
    table = folder / "who.csv"
    table.write_text("".join(f"image{n},canary{n // each}\n" for n in range(count)))
    return table
