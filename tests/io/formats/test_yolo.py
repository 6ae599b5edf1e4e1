from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ExportError, FormatError, GeometryError
from napari_graydet.io.formats.yolo import (
    format_data_yaml,
    format_labels,
    parse_labels,
    read_labels,
    write_labels,
)

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
def test_boxes_come_back_to_a_thousandth_of_a_pixel(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    assume(min(shape) > 1)
    boxes = data.draw(st.lists(st.tuples(st.sampled_from(CLASSES), boxes_in(shape)), max_size=5))
    text = format_labels(boxes, CLASSES, shape)
    back = parse_labels(text, CLASSES, shape)
    assert [label for label, _ in back] == [label for label, _ in boxes]
    for (_, first), (_, second) in zip(boxes, back, strict=True):
        assert second.xyxy == pytest.approx(first.xyxy, abs=1e-3)


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


def test_files_come_back_and_empty_ones_mean_nothing_here(tmp_path: Path) -> None:
    path = tmp_path / "labels" / "train" / "a.txt"
    write_labels(path, [], CLASSES, SHAPE)
    assert path.read_bytes() == b""
    assert read_labels(path, CLASSES, SHAPE) == []
    write_labels(path, [("metal", RoiBox(64, 48, 320, 240))], CLASSES, SHAPE)
    assert read_labels(path, CLASSES, SHAPE)[0][1].xyxy == pytest.approx((64, 48, 320, 240))


def test_files_of_other_programs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf1 0.5 0.5 0.25 0.25\r\n\r\n  0\t.5 5e-1 1 1.0000001  \r\n")
    (first, lung), (second, bone) = read_labels(path, CLASSES, SHAPE)
    assert (first, second) == ("lung", "bone")
    assert lung.xyxy == pytest.approx((240, 180, 400, 300))
    assert bone.xyxy == pytest.approx((0, 0, 640, 480), abs=1e-3)


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.1",
        "0 0.5 0.5 0.1 0.1 0.9",
        "bone 0.5 0.5 0.1 0.1",
        "0.5 0.5 0.5 0.1 0.1",
        "3 0.5 0.5 0.1 0.1",
        "-1 0.5 0.5 0.1 0.1",
        "0 nan 0.5 0.1 0.1",
        "0 inf 0.5 0.1 0.1",
        "0 0.5 0.5 0 0.1",
        "0 0.5 0.5 -0.001 0.1",
        "0 320 240 64 48",
        "0 0.5 0.5 0.1 x",
    ],
)
def test_wrong_lines_are_named_with_their_number(line: str) -> None:
    with pytest.raises(FormatError, match=r"Line 2 of a\.txt") as info:
        parse_labels(f"0 0.5 0.5 0.1 0.1\n{line}\n", CLASSES, SHAPE, name="a.txt")
    assert "\n" not in str(info.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x80\x02\xff")
    with pytest.raises(FormatError, match="not a text file"):
        read_labels(path, CLASSES, SHAPE)
    with pytest.raises(FormatError, match="No such file"):
        read_labels(tmp_path / "missing.txt", CLASSES, SHAPE)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_labels(text, CLASSES, SHAPE)
    except FormatError as error:
        assert "\n" not in str(error)


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
