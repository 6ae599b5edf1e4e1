from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ExportError, GeometryError
from napari_graydet.io.formats.yolo import format_data_yaml, format_labels

CLASSES = ["bone", "lung", "metal"]
SHAPE = (480, 640)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
shapes = st.tuples(st.integers(1, 10_000), st.integers(1, 10_000))


@st.composite
def boxes_in(draw: st.DrawFn, shape: tuple[int, int]) -> RoiBox:
    height, width = shape
    x0, x1 = sorted(draw(st.tuples(st.floats(0, width), st.floats(0, width))))
    y0, y1 = sorted(draw(st.tuples(st.floats(0, height), st.floats(0, height))))
    assume(x1 - x0 > 1 and y1 - y0 > 1)
    return RoiBox(x0, y0, x1, y1)


@given(st.data(), shapes)
def test_numbers_are_what_the_format_says(data: st.DataObject, shape: tuple[int, int]) -> None:
    """Recompute the corners with plain arithmetic, as a training program would."""
    assume(min(shape) > 1)
    box = data.draw(boxes_in(shape))
    fields = format_labels([("lung", box)], CLASSES, shape).split()
    assert fields[0] == "1"
    assert all(len(field.split(".")[1]) >= 6 for field in fields[1:])
    cx, cy, w, h = (float(field) for field in fields[1:])
    assert all(0 <= v <= 1 for v in (cx, cy, w, h))
    assert (cx - w / 2) * shape[1] == pytest.approx(box.x0, abs=1e-3)
    assert (cy + h / 2) * shape[0] == pytest.approx(box.y1, abs=1e-3)
    assert format_labels([], CLASSES, shape) == ""


def test_boxes_are_clipped_and_those_outside_refused() -> None:
    text = format_labels([("bone", RoiBox(-100, -100, 320, 240))], CLASSES, SHAPE)
    assert text == "0 0.25000000 0.25000000 0.50000000 0.50000000\n"
    with pytest.raises(GeometryError):
        format_labels([("bone", RoiBox(700, 0, 800, 10))], CLASSES, SHAPE)


def test_ids_are_positions_in_the_class_list() -> None:
    boxes = [(label, RoiBox(0, 0, 10, 10)) for label in reversed(CLASSES)]
    ids = [line.split()[0] for line in format_labels(boxes, CLASSES, SHAPE).splitlines()]
    assert ids == ["2", "1", "0"]
    with pytest.raises(ExportError, match="'hand' is not in"):
        format_labels([("hand", RoiBox(0, 0, 10, 10))], CLASSES, SHAPE)


@given(st.lists(names, unique=True, max_size=6))
def test_yaml_keeps_every_name_and_id(classes: list[str]) -> None:
    data = yaml.safe_load(format_data_yaml(classes))
    assert data["names"] == dict(enumerate(classes))
    assert data["nc"] == len(classes)
    assert (data["train"], data["val"]) == ("images/train", "images/val")
    assert "path" not in data


def test_yaml_of_awkward_names() -> None:
    awkward = ["no", "1", "null", "a: b", "# x", "it's", 'say "x"', "back\\slash", "ü 手", "\u2028"]
    assert list(yaml.safe_load(format_data_yaml(awkward))["names"].values()) == awkward
