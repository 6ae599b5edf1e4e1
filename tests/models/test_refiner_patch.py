"""What a refiner sees lies where it lies in the image, and its answer comes back there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.models.refiner import patch as rp
from tests.models.refiners import disc

FRAME = rp.Frame(64, 0.25)

rois = st.builds(
    lambda x, y, w, h: RoiBox(x, y, x + w, y + h),
    *(st.floats(0, 30), st.floats(0, 30), st.floats(8, 40), st.floats(8, 40)),
)


def ramp(height: int, width: int) -> GrayImage:
    """Return an image whose gray is its column plus twice its row."""
    r, c = np.mgrid[:height, :width]
    return GrayImage((c + 2 * r).astype(np.uint16), GrayScale(0, 65535, 0, 1000))


@given(rois)
def test_patch_reads_the_image_where_its_coordinates_say(roi: RoiBox) -> None:
    image = ramp(80, 80)
    seen = rp.patch_of(image, roi, None, FRAME)
    x = (roi.x0 + roi.x1 + seen[rp.X] * roi.width) / 2
    y = (roi.y0 + roi.y1 + seen[rp.Y] * roi.height) / 2
    inner = (x > 2) & (y > 2) & (x < 78) & (y < 78) & (seen[rp.VALID] > 0)
    gray = (seen[rp.GRAY] + 1) / 2 * 1000
    assert np.abs(gray - ((x - 0.5) + 2 * (y - 0.5)))[inner].max() < 0.05


@given(rois)
def test_what_lies_outside_of_the_image_is_told(roi: RoiBox) -> None:
    seen = rp.patch_of(ramp(60, 60), roi.clip((60, 60)), None, FRAME)
    inside = roi.clip((60, 60))
    x = (inside.x0 + inside.x1 + seen[rp.X] * inside.width) / 2
    y = (inside.y0 + inside.y1 + seen[rp.Y] * inside.height) / 2
    outside = (x < 0) | (y < 0) | (x > 60) | (y > 60)
    assert not seen[rp.VALID][outside].any()
    assert not seen[: rp.VALID, outside].any()


@given(rois)
def test_logits_come_back_to_the_pixels_they_were_made_for(roi: RoiBox) -> None:
    roi = roi.clip((80, 80))
    x, y = FRAME.grid()
    logits = torch.from_numpy(3 * x - y)[None]  # linear, so bilinear reading is exact
    rows, cols = roi.grow(FRAME.margin, (80, 80)).slices((80, 80))
    found = rp.on_pixels(logits, roi, FRAME, (rows, cols))
    c, r = np.meshgrid(np.arange(cols.start, cols.stop), np.arange(rows.start, rows.stop))
    u = (c + 0.5 - roi.x0) / roi.width * 2 - 1
    v = (r + 0.5 - roi.y0) / roi.height * 2 - 1
    edge = x.max()
    inner = (np.abs(u) < edge) & (np.abs(v) < edge)
    assert np.allclose(found[inner], (3 * u - v)[inner], atol=1e-3)


@pytest.mark.parametrize("inverted", [False, True])
def test_inside_channel_is_the_mask_of_the_box(inverted: bool) -> None:
    picture = disc(1, inverted=inverted)
    roi = RoiBox(16, 16, 48, 48)  # 32 pixels on a patch of 64 with margin 1/2: one to one
    box = GrayBox.flat(roi, GrayRange(90, 170))
    frame = rp.Frame(64, 0.5)
    seen = rp.patch_of(picture.image, roi, box, frame)
    window, inside = box.inside(picture.image.pixels)
    assert np.array_equal(seen[rp.INSIDE][window] > 0, inside)
    outside = np.ones((64, 64), dtype=bool)
    outside[window] = False
    assert not seen[rp.INSIDE][outside].any()


def test_depth_follows_a_tilted_box() -> None:
    image = GrayImage(np.full((32, 32), 100, dtype=np.uint8), GrayScale.of_bits(8))
    roi = RoiBox(8, 8, 24, 24)
    low = np.array([[60.0, 140.0], [60.0, 140.0]])  # rises to the right
    seen = rp.patch_of(image, roi, GrayBox(roi, low, low + 80), rp.Frame(32, 0.0))
    middle = seen[rp.DEPTH][16]
    assert middle[2] > 0 > middle[-3]
    assert np.argmin(np.abs(middle)) == pytest.approx(16, abs=1)


def test_without_a_box_its_channels_are_empty() -> None:
    seen = rp.patch_of(ramp(40, 40), RoiBox(5, 5, 30, 30), None, FRAME)
    assert not seen[rp.DEPTH].any() and not seen[rp.INSIDE].any()


def test_roi_outside_of_the_image_is_refused() -> None:
    with pytest.raises(GeometryError, match="covers no pixel"):
        rp.patch_of(ramp(40, 40), RoiBox(50, 50, 60, 60), None, FRAME)


def test_one_pixel_and_one_gray_do_no_harm() -> None:
    image = GrayImage(np.full((1, 1), 7, dtype=np.uint8), GrayScale.of_bits(8))
    seen = rp.patch_of(image, RoiBox(0, 0, 1, 1), None, FRAME)
    assert np.isfinite(seen).all()


def test_large_windows_are_shrunk_with_all_their_pixels() -> None:
    stripes = np.zeros((1000, 1000), dtype=np.uint8)
    stripes[:, ::2] = 200  # finer than the patch: it must see their mean, not an alias
    image = GrayImage(stripes, GrayScale.of_bits(8))
    seen = rp.patch_of(image, RoiBox(100, 100, 900, 900), None, FRAME)
    gray = (seen[rp.GRAY] + 1) / 2 * 255
    assert np.abs(gray - 100)[seen[rp.VALID] > 0].max() < 12


def test_overlapping_patches_count_by_how_far_inside_a_pixel_lies() -> None:
    left, right = RoiBox(0, 0, 40, 40), RoiBox(30, 0, 70, 40)
    yes, no = torch.full((1, 8, 8), 5.0), torch.full((1, 8, 8), -5.0)
    mask = rp.painted([(left, yes), (right, no)], rp.Frame(8, 0.0), (40, 70))
    assert mask[:, :34].all() and not mask[:, 36:].any()


def test_nothing_is_painted_beyond_the_patches() -> None:
    yes = torch.full((1, 8, 8), 5.0)
    mask = rp.painted([(RoiBox(10, 10, 20, 20), yes)], rp.Frame(8, 0.1), (40, 40))
    rows, cols = np.nonzero(mask)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (9, 20, 9, 20)


def test_a_scene_counts_as_much_as_a_patch_and_only_there() -> None:
    roi, frame, shape = RoiBox(0, 0, 40, 40), rp.Frame(8, 0.0), (40, 80)
    yes, no = torch.full((1, 8, 8), 3.0), torch.full((1, 8, 8), -2.0)
    both = rp.painted([(roi, no)], frame, shape, yes)
    assert both[:, :40].all() and not both[:, 40:].any()
    assert not rp.painted([(roi, yes)], frame, shape, 2 * no).any()
    alone = rp.painted([(roi, None)], frame, shape, yes)
    assert np.array_equal(alone, both)


def test_parts_that_no_roi_covers_are_found() -> None:
    logits = torch.full((1, 64, 64), -5.0)
    logits[:, 10:50, 5:25] = 5.0  # covered by an ROI
    logits[:, 10:50, 40:60] = 4.0  # missed
    logits[:, 60:62, 0:2] = 5.0  # too small
    logits[:, 52:60, 2:22] = 0.5  # not sure
    seen = RoiBox(10, 20, 50, 100)
    ((roi, sure),) = rp.parts_beyond(logits, [seen], (128, 128))
    assert roi.iou(RoiBox(80, 20, 120, 100)) > 0.85
    assert sure == pytest.approx(1 / (1 + np.exp(-4.0)), abs=1e-4)
    assert len(rp.parts_beyond(logits, [], (128, 128))) == 2


def test_a_rim_that_an_roi_cuts_off_is_no_part_of_its_own() -> None:
    logits = torch.full((1, 64, 64), -5.0)
    logits[:, 10:50, 10:50] = 5.0
    most, half = RoiBox(20, 20, 80, 100), RoiBox(20, 20, 60, 100)
    assert rp.parts_beyond(logits, [most], (128, 128)) == []
    assert len(rp.parts_beyond(logits, [half], (128, 128))) == 1


@given(rois, st.floats(-1, 1), st.integers(0, 2**32 - 1))
def test_a_part_is_never_looked_for_beyond_the_image(roi: RoiBox, level: float, seed: int) -> None:
    shape = (50, 40)  # many ROIs reach over its edges, and their patches further still
    logits = torch.from_numpy(np.random.default_rng(seed).normal(level, 1, (1, 64, 64)))
    part = rp.part_in(logits, roi.clip(shape), FRAME, shape)
    if part is not None:
        assert part.x0 >= 0 and part.y0 >= 0 and part.x1 <= shape[1] and part.y1 <= shape[0]


def test_what_a_patch_shows_beyond_the_image_is_no_part() -> None:
    roi, logits = RoiBox(10, 0, 30, 20), torch.full((1, 64, 64), -4.0)
    logits[:, :8, 20:40] = 4.0  # above the image's first row
    assert rp.part_in(logits, roi, FRAME, (50, 40)) is None
    logits[:, 30:40, 28:40] = 4.0  # a smaller one inside
    part = rp.part_in(logits, roi, FRAME, (50, 40))
    assert part is not None and part.y0 > 5 and part.height < 10


def test_the_scene_is_read_where_the_patch_lies() -> None:
    frame, shape, roi = rp.Frame(16, 0.25, 32), (80, 160), RoiBox(20, 10, 60, 50)
    x, y = frame.scene.grid()
    scene = torch.from_numpy(3 * x - 2 * y)[None]  # a slope, in -5 .. 5
    patch = torch.full((1, 16, 16), 20.0)  # surer than anything counts
    seen = rp.with_scene(patch, scene, roi, frame, shape)[0].numpy() * 2 - 8
    across, down = frame.grid()
    columns, rows = 40 + 20 * across, 30 + 20 * down  # in the image
    inside = (rows > 2) & (columns > 4)
    expected = 3 * (columns / 80 - 1) - 2 * (rows / 40 - 1)
    assert np.abs(seen - expected)[inside].max() < 1e-4


def test_of_two_bones_in_an_roi_neither_is_left_behind() -> None:
    roi, shape = RoiBox(20, 10, 40, 50), (60, 60)
    logits = torch.full((1, 64, 64), -4.0)
    logits[:, 10:36, 16:48] = 4.0
    logits[:, 40:56, 20:44] = 4.0
    both = rp.part_in(logits, roi, FRAME, shape)
    assert both is not None and both.iou(roi) > 0.7
    elsewhere = RoiBox(15, 35, 45, 58)
    first = rp.part_in(logits, roi, FRAME, shape, [elsewhere])
    assert first is not None and first.y1 < 37, "the lower one is in an ROI of its own"
    logits[:, 42:, :] = -4.0  # little is left of it
    speck = rp.part_in(logits, roi, FRAME, shape)
    assert speck is not None and speck.y1 < 37
