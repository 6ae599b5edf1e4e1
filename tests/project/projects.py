"""Small projects and random records for tests."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    CleanUpRecord,
    ResidualRecord,
    RoiRecord,
    State,
)
from napari_graydet.project.store import ProjectStore

CLASSES = ("bone", "lung", "Handwurzelknochen (links) ☠")
SHAPE = (40, 60)


def make_project(folder: Path, count: int = 3, **options: object) -> ProjectStore:
    """Make a project of `count` files; the store never looks into them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"image {i}.png" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(f"pixels of {i}".encode())
    return ProjectStore.create(folder, CLASSES, paths, **options)  # type: ignore[arg-type]


def blank() -> Annotation:
    return Annotation(width=SHAPE[1], height=SHAPE[0])


def edited(low: int = 7, **changes: object) -> Annotation:
    """Return a record with one box that a person made."""
    box = BoxRecord(id="b", x0=1, y0=2.5, x1=30, y1=20, low=low, high=low + 50, label="bone")
    return blank().model_copy(update={"boxes": (box,), "state": State.IN_WORK, **changes})


def predicted(low: int = 7) -> Annotation:
    """Return a record as a model makes it."""
    box = edited(low).boxes[0].model_copy(update={"source": "model", "score": 0.5, "model": "m"})
    return edited(boxes=(box,), state=State.PROPOSED)


def painted(runs: int) -> Annotation:
    """Return a record with many painted runs on a large image."""
    residual = ResidualRecord(added=tuple((20 * i, 1 + i % 7) for i in range(runs)))
    return Annotation(width=4000, height=4000, state=State.IN_WORK, residual={"bone": residual})


labels = st.sampled_from(CLASSES)
scores = st.one_of(st.none(), st.floats(0, 1))
runs = st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), max_size=6).map(tuple)
extents = st.builds(
    lambda x, y, w, h: {"x0": x, "y0": y, "x1": x + w, "y1": y + h},
    *(st.floats(0, 50), st.floats(0, 30), st.floats(0.5, 9), st.floats(0.5, 9)),
)


@st.composite
def boxes(draw: st.DrawFn) -> BoxRecord:
    k = draw(st.integers(1, 3))
    low = draw(st.integers(-500, 60000))
    width = draw(st.integers(0, 3000))
    if k > 1:
        net = [[low + i * 0.1 + j for j in range(k)] for i in range(k)]
        nets: dict[str, object] = {"low": net, "high": [[v + width for v in row] for row in net]}
    else:
        nets = {"low": low, "high": low + width}
    source = draw(st.sampled_from(["model", "human"]))
    fields = {**draw(extents), **nets, "label": draw(labels), "score": draw(scores)}
    return BoxRecord.model_validate({**fields, "source": source})


@st.composite
def annotations(draw: st.DrawFn) -> Annotation:
    """Any valid record of the shape of the test images."""
    rois = draw(
        st.lists(st.builds(lambda e, n: RoiRecord(**e, label=n), extents, labels), max_size=3)
    )
    residual = st.builds(ResidualRecord, added=runs, erased=runs)
    cleanup = st.builds(CleanUpRecord, opening=st.integers(0, 5), fill_holes=st.booleans())
    return Annotation(
        width=SHAPE[1],
        height=SHAPE[0],
        state=draw(st.sampled_from(State)),
        rois=tuple(rois),
        boxes=tuple(draw(st.lists(boxes(), max_size=3))),
        cleanup=draw(st.dictionaries(labels, cleanup, max_size=2)),
        residual=draw(st.dictionaries(labels, residual, max_size=2)),
    )
