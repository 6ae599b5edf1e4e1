from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.gui.cloud.cuboid import HEIGHT, HIGH, LONG, LOW, CloudSpace, cuboid, moved

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


def test_each_control_gray_of_a_net_has_a_handle_and_none_lie_on_one_another() -> None:
    for k, count in ((1, 2), (2, 2 + 8), (3, 2 + 18), (4, 2 + 32)):
        box = tilted().with_nets(k)
        handles = cuboid(box, space()).handles
        assert len({(h.face, h.at[1:]) for h in handles}) == len(handles) == count
        for h in handles[2:]:
            assert h.value == (box.low if h.face == LOW else box.high)[h.knot]
    corner = next(
        h for h in cuboid(tilted(), space()).handles if h.face == HIGH and h.knot == (1, 0)
    )
    assert corner.value == 130
    assert corner.at == pytest.approx(space().place(130.5, ROI.y1, ROI.x0)[0])


@pytest.mark.parametrize("k", [2, 3, 4])
def test_handles_lie_on_the_faces(k: int) -> None:
    rng = np.random.default_rng(k)
    box = GrayBox(ROI, rng.uniform(60, 100, (k, k)), rng.uniform(120, 180, (k, k)))
    shape = cuboid(box, space())
    half = len(shape.vertices) // 2
    for h in shape.handles:
        face = shape.vertices[:half] if h.face == LOW else shape.vertices[half:]
        assert np.linalg.norm(face - np.array(h.at), axis=1).min() < 1e-6


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


@given(st.integers(-30, 30), st.sampled_from([LOW, HIGH]), st.sampled_from([2, 3, 4]), st.data())
def test_dragging_a_control_gray_moves_it_alone(
    steps: int, face: str, k: int, data: st.DataObject
) -> None:
    box, world = tilted().with_nets(k), space()
    knot = data.draw(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)))
    handle = next(h for h in cuboid(box, world).handles if h.face == face and h.knot == knot)
    new = moved(box, handle, steps * world.up, world)
    change = (new.low if face == LOW else new.high) - (box.low if face == LOW else box.high)
    other = (new.high if face == LOW else new.low) - (box.high if face == LOW else box.low)
    assert change[knot] == pytest.approx(steps, abs=0.5)  # it lands on a whole gray value
    assert np.count_nonzero(change) <= 1
    assert not other.any()


nets = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.floats(-50, 300), min_size=k * k, max_size=k * k).map(
        lambda grays: np.array(grays).reshape(k, k)
    )
)


@given(nets, st.data(), st.floats(-200, 200))
def test_no_drag_breaks_a_net_that_crosses_the_other(
    low: np.ndarray, data: st.DataObject, rise: float
) -> None:
    gaps = data.draw(
        st.lists(st.floats(-40, 90), min_size=low.size, max_size=low.size).filter(
            lambda drawn: max(drawn) >= 0
        )
    )
    box, world = GrayBox(ROI, low, low + np.array(gaps).reshape(low.shape)), space()
    handle = data.draw(st.sampled_from(cuboid(box, world).handles))
    new = moved(box, handle, rise, world)  # a box, or it would have raised
    crossed = box.high < box.low
    assert (new.high >= new.low - 1e-6)[~crossed].all()
    if handle.knot is None:
        for old, now in ((box.low, new.low), (box.high, new.high)):
            assert np.ptp(now - old) == pytest.approx(0, abs=1e-6)


def test_a_face_moves_where_the_nets_cross_at_a_corner() -> None:
    world, low = space(), np.full((3, 3), 80.0)
    high = np.full((3, 3), 140.0)
    high[0, 0] = 60  # nothing is inside there, as fits make it
    handle = next(h for h in cuboid(GrayBox(ROI, low, high), world).handles if h.face == LOW)
    assert (moved(GrayBox(ROI, low, high), handle, 10 * world.up, world).low == 90).all()


@given(st.integers(-300, 300), st.sampled_from([LOW, HIGH]), st.sampled_from([2, 3, 4]))
def test_dragging_a_face_of_a_net_keeps_its_shape_and_its_side(
    steps: int, face: str, k: int
) -> None:
    box, world = tilted().with_nets(k), space()
    handle = next(h for h in cuboid(box, world).handles if h.face == face and h.knot is None)
    new = moved(box, handle, steps * world.up, world)
    change = (new.low if face == LOW else new.high) - (box.low if face == LOW else box.high)
    assert np.ptp(change) == pytest.approx(0, abs=1e-9)
    assert (new.high >= new.low - 1e-9).all()


def test_a_threshold_far_off_the_axis_is_taken_from_where_it_is_shown() -> None:
    world = space()
    box = GrayBox.flat(ROI, GrayRange(50, 255))
    handle = next(h for h in cuboid(box, world).handles if h.face == HIGH)
    assert moved(box, handle, -10 * world.up, world).gray == GrayRange(50, 210)
