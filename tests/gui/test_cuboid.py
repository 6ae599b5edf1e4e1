from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.gui.cuboid import HEIGHT, HIGH, LONG, LOW, CloudSpace, cuboid, moved

ROI = RoiBox(10, 20, 110, 70)
SCALE = GrayScale.of_bits(8)
INVERTED = GrayScale.of_bits(8, inverted=True)


def space(scale: GrayScale = SCALE, low: int = 30, high: int = 220) -> CloudSpace:
    return CloudSpace(ROI, GrayRange(low, high), GrayRange(low - 9, high + 7), scale)


def tilted() -> GrayBox:
    low = np.array([[60.0, 70.0], [80.0, 90.0]])
    return GrayBox(ROI, low, low + 50)


grays = st.integers(35, 215)
ranges = st.tuples(grays, grays).map(lambda pair: GrayRange(min(pair), max(pair)))
scales = st.sampled_from([SCALE, INVERTED])


def test_the_world_is_roughly_a_cube_with_the_image_in_proportion() -> None:
    image = GrayImage(np.tile(np.arange(200, dtype=np.uint8), (90, 1)), SCALE)
    world = CloudSpace.of(image, RoiBox(0, 0, 200, 90))
    assert world.size == pytest.approx([HEIGHT, 45.0, LONG])
    slim = CloudSpace.of(image, RoiBox(0, 0, 200, 10))
    assert slim.size[1] >= 40  # a forearm is widened, or there would be nothing to see
    assert (world.gray.low, world.gray.high) == (0, 199 + 12)
    assert world.extremes == GrayRange(0, 199)


def test_a_few_extreme_pixels_do_not_squeeze_the_axis() -> None:
    pixels = np.full((100, 100), 1000, dtype=np.uint16)
    pixels[:50] = 1200
    pixels[0, 0] = 65535
    world = CloudSpace.of(
        GrayImage(pixels, GrayScale(0, 65535, 900.0, 1300.0)), RoiBox(0, 0, 99, 99)
    )
    assert world.gray.high < 1300
    assert world.extremes.high == 65535
    assert world.place(65535, 50, 50)[0, 0] == pytest.approx(HEIGHT / 2)


def test_an_roi_beside_the_image_is_refused() -> None:
    with pytest.raises(GeometryError):
        CloudSpace.of(GrayImage(np.zeros((9, 9), dtype=np.uint8), SCALE), RoiBox(20, 20, 30, 30))


@given(scales, grays)
def test_brighter_is_higher(scale: GrayScale, value: int) -> None:
    world = space(scale)
    here, brighter = world.place([value, value + (-1 if scale.inverted else 1)], 40, 40)[:, 0]
    assert brighter > here


@given(ranges, scales)
def test_a_flat_box_encloses_its_grays_and_no_other(gray: GrayRange, scale: GrayScale) -> None:
    world = space(scale)
    shape = cuboid(GrayBox.flat(ROI, gray), world)
    z = shape.vertices[:, 0]
    shown = world.place(np.arange(30, 221), 40, 40)[:, 0]
    inside = (shown > z.min()) & (shown < z.max())
    assert np.array_equal(np.arange(30, 221)[inside], np.arange(gray.low, gray.high + 1))
    assert z.max() - z.min() == pytest.approx(gray.width * abs(world.up))
    assert np.ptp(shape.vertices[:, 1]) == pytest.approx(world.size[1])
    assert np.ptp(shape.vertices[:, 2]) == pytest.approx(world.size[2])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_faces_outlines_and_posts_belong_together(k: int) -> None:
    box = GrayBox.flat(ROI, GrayRange(60, 120)) if k == 1 else tilted().with_nets(k)
    shape = cuboid(box, space())
    half = len(shape.vertices) // 2
    assert set(np.unique(shape.triangles)) == set(range(len(shape.vertices)))
    corners = {tuple(v) for v in shape.vertices}
    for face, vertices in ((LOW, shape.vertices[:half]), (HIGH, shape.vertices[half:])):
        line = shape.outlines[face]
        assert np.array_equal(line[0], line[-1])
        assert {tuple(v) for v in line} <= {tuple(v) for v in vertices}
        ends = shape.posts[:, 0 if face == LOW else 1]
        assert {tuple(v) for v in ends} <= {tuple(v) for v in line}
    assert len({tuple(v) for v in shape.posts.reshape(-1, 3)} & corners) == 8
    assert np.allclose(shape.posts[:, 0, 1:], shape.posts[:, 1, 1:])  # posts are vertical
    a, b = (
        (shape.vertices[shape.triangles[:, i]] - shape.vertices[shape.triangles[:, 0]])[:, 1:]
        for i in (1, 2)
    )
    area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2
    assert area == pytest.approx(2 * space().size[1] * space().size[2])  # triangles tile both faces


def test_the_upper_face_is_the_brighter_one() -> None:
    box = GrayBox.flat(ROI, GrayRange(60, 120))
    assert cuboid(box, space()).upper == HIGH
    assert cuboid(box, space(INVERTED)).upper == LOW


def test_only_a_tilt_has_corner_handles() -> None:
    counts = [len(cuboid(tilted().with_nets(k), space()).handles) for k in (1, 2, 3, 4)]
    assert counts == [2, 10, 2, 2]
    corner = next(
        h for h in cuboid(tilted(), space()).handles if h.face == HIGH and h.corner == (1, 0)
    )
    assert corner.value == 130
    assert corner.at == pytest.approx(space().place(130.5, ROI.y1, ROI.x0)[0])


@given(ranges, scales, st.integers(-300, 300), st.sampled_from([LOW, HIGH]))
def test_dragging_a_face_moves_its_threshold_alone(
    gray: GrayRange, scale: GrayScale, steps: int, face: str
) -> None:
    world = space(scale)
    box = GrayBox.flat(ROI, gray)
    handle = next(h for h in cuboid(box, world).handles if h.face == face)
    new = moved(box, handle, steps * world.up, world).gray
    if steps == 0:
        assert new == gray
    elif face == LOW:
        wanted = gray.low + steps if gray.low + steps > 30 else 21
        assert (new.low, new.high) == (min(wanted, gray.high), gray.high)
    else:
        wanted = gray.high + steps if gray.high + steps < 220 else 227
        assert (new.low, new.high) == (gray.low, max(wanted, gray.low))


@given(st.integers(-30, 40), st.sampled_from([LOW, HIGH]), st.integers(0, 1), st.integers(0, 1))
def test_dragging_a_corner_tilts_that_corner_alone(
    steps: int, face: str, row: int, col: int
) -> None:
    box, world = tilted(), space()
    handle = next(
        h for h in cuboid(box, world).handles if h.face == face and h.corner == (row, col)
    )
    new = moved(box, handle, steps * world.up, world)
    change = (new.low if face == LOW else new.high) - (box.low if face == LOW else box.high)
    other = (new.high if face == LOW else new.low) - (box.high if face == LOW else box.low)
    assert change[row, col] == pytest.approx(steps)
    assert np.count_nonzero(change) <= 1
    assert not other.any()


@given(st.integers(-300, 300), st.sampled_from([LOW, HIGH]), st.sampled_from([2, 3, 4]))
def test_dragging_a_face_of_a_net_keeps_its_shape_and_its_side(
    steps: int, face: str, k: int
) -> None:
    box, world = tilted().with_nets(k), space()
    handle = next(h for h in cuboid(box, world).handles if h.face == face and h.corner is None)
    new = moved(box, handle, steps * world.up, world)
    change = (new.low if face == LOW else new.high) - (box.low if face == LOW else box.high)
    assert np.ptp(change) == pytest.approx(0, abs=1e-9)
    assert (new.high >= new.low - 1e-9).all()


def test_a_threshold_far_off_the_axis_is_taken_from_where_it_is_shown() -> None:
    world = space()
    box = GrayBox.flat(ROI, GrayRange(50, 255))
    handle = next(h for h in cuboid(box, world).handles if h.face == HIGH)
    assert moved(box, handle, -10 * world.up, world).gray == GrayRange(50, 210)
