"""Captions can be read: none lies on another, and on what is bright they are dark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.captions import MAX_CAPTIONS, Captions, brightness, room
from napari_graydet.gui.colors import PALETTE, darker
from napari_graydet.gui.session import Session
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
    assert list(found["ink"]) == [PALETTE[0], darker(PALETTE[0]), PALETTE[0]]
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


def test_inks_can_be_read() -> None:
    """At least 4.5 : 1 (WCAG AA) on black and on white."""
    for colour in PALETTE:
        assert contrast(colour, "#000000") >= 4.5
        assert contrast(darker(colour), "#ffffff") >= 4.5


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
