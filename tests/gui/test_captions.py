"""Captions can be read: none lies on another, and on what is bright they are dark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.colors import LEGIBLE, PALETTE, contrast, ink, inks
from napari_graydet.gui.control.session import Session
from napari_graydet.gui.image.captions import MAX_CAPTIONS, Captions, brightness, letters, room
from napari_graydet.project.schema import RoiRecord

SIDE = 200
CORNER = st.floats(0, SIDE - 12)
BOXES = st.lists(st.tuples(CORNER, CORNER), min_size=1, max_size=9)


@dataclass
class Shown:
    """What captions ask of a session."""

    image: GrayImage
    classes: tuple[str, ...] = ("bone", "lung")
    roi_id: str | None = None


@dataclass
class Scene:
    gray: np.ndarray
    shown: Shown = field(init=False)

    def __post_init__(self) -> None:
        self.shown = Shown(GrayImage(self.gray.astype(np.uint8), GrayScale.of_bits(8)))

    def captions(self) -> Captions:
        return Captions(cast(Session, self.shown))


def rois_at(corners: list[tuple[float, float]]) -> tuple[RoiRecord, ...]:
    return tuple(
        RoiRecord(label="bone", score=0.5, x0=x, y0=y, x1=x + 10, y1=y + 10) for x, y in corners
    )


@given(corners=BOXES, chosen=st.integers(0, 8))
def test_no_caption_lies_on_another_and_the_selected_roi_is_always_named(
    corners: list[tuple[float, float]], chosen: int
) -> None:
    scene, rois = Scene(np.zeros((SIDE, SIDE))), rois_at(corners)
    selected = rois[chosen % len(rois)]
    scene.shown.roi_id = selected.id
    found = scene.captions().features(rois)
    named = dict(zip(found["id"], found["caption"], strict=True))
    assert named[selected.id] == "bone 0.50"
    rooms = [room(roi.roi_box, named[roi.id], SIDE) for roi in rois if named[roi.id]]
    assert all(a.iou(b) == 0 for i, a in enumerate(rooms) for b in rooms[:i])
    if len(rois) > MAX_CAPTIONS:
        assert len(rooms) == 1
    else:
        whole = [room(roi.roi_box, "bone 0.50", SIDE) for roi in rois]
        for area, roi in zip(whole, rois, strict=True):
            assert named[roi.id] or any(area.iou(other) > 0 for other in rooms)


def test_a_caption_on_something_bright_is_dark() -> None:
    gray = np.zeros((SIDE, SIDE))
    gray[:, SIDE // 2 :] = 220
    scene = Scene(gray)
    found = scene.captions().features(rois_at([(10, 60), (140, 60), (140, 0)]))
    assert list(found["ink"]) == [PALETTE[0], inks(PALETTE[0])[2], PALETTE[0]]
    assert list(found["color"]) == [PALETTE[0]] * 3, "the ROIs keep the colour of their class"


def test_brightness_is_what_is_shown() -> None:
    pixels = np.zeros((20, 20), dtype=np.uint16)
    pixels[:10, :10] = 4000
    area = RoiBox(0, 0, 10, 10)
    assert brightness(GrayImage(pixels, GrayScale(0, 65535, 0, 4000)), area) == 1
    assert brightness(GrayImage(pixels, GrayScale(0, 65535, 4000, 0)), area) == 0
    assert brightness(GrayImage(pixels, GrayScale(0, 65535, 0, 8000)), area) == 0.5
    assert (
        brightness(GrayImage(pixels, GrayScale(0, 65535, 0, 4000)), RoiBox(-10, 0, 10, 10)) == 0.5
    )
    assert brightness(GrayImage(pixels, GrayScale(0, 65535, 0, 4000)), RoiBox(-9, -9, -1, -1)) == 0


def test_a_caption_that_ends_on_something_bright_is_read_at_both_ends() -> None:
    gray = np.zeros((SIDE, SIDE))
    gray[:, 50:] = 220
    roi = rois_at([(35, 60)])
    at, text = roi[0].roi_box, "bone 0.50"
    assert at.x0 < 50 < room(at, text, SIDE).x1
    (found,) = Scene(gray).captions().features(roi)["ink"]
    assert min(contrast(found, "#000000"), contrast(found, "#dcdcdc")) > 2.5


def test_letters_fill_the_room_of_a_caption() -> None:
    roi, text = RoiBox(20, 30, 40, 50), "bone 0.50"
    parts, whole = letters(roi, text, SIDE), room(roi, text, SIDE)
    assert len(parts) == len(text)
    assert (parts[0].x0, parts[-1].x1) == (whole.x0, whole.x1)
    assert {(part.y0, part.y1) for part in parts} == {(whole.y0, whole.y1)}


@given(color=st.sampled_from(PALETTE), grounds=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_no_other_ink_is_read_better_where_one_is_read_worst(
    color: str, grounds: list[float]
) -> None:
    grays = ["#" + 3 * f"{round(255 * gray):02x}" for gray in grounds]
    worst = {each: min(contrast(each, gray) for gray in grays) for each in inks(color)}
    found = ink(color, grounds)
    if worst[color] >= LEGIBLE:
        assert found == color
    else:
        assert worst[found] == max(worst.values())


def test_inks_can_be_read() -> None:
    """At least 4.5 : 1 (WCAG AA) on black and on white, and 2.5 : 1 on both at once."""
    for colour in PALETTE:
        bright, middle, dark, white = inks(colour)
        assert bright == colour
        assert min(contrast(bright, "#000000"), contrast(white, "#000000")) >= 4.5
        assert contrast(dark, "#ffffff") >= 4.5
        assert min(contrast(middle, "#000000"), contrast(middle, "#ffffff")) >= 2.5
        assert ink(colour, []) == colour


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == contrast("#ffffff", "#000000") == 21
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
