from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from napari.layers import Points
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QImage, QKeyEvent, QOpenGLContext, QPalette, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QWidget

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.gui.cloud.cuboid import HIGH, LOW, CloudSpace, Handle
from napari_graydet.gui.cloud.view import CloudView
from tests.gui.mouse import Mouse, straight

pytestmark = pytest.mark.gui

ROI = RoiBox(10, 10, 250, 190)


def hill(inverted: bool = False) -> GrayImage:
    """A bright bump on dark ground; inverted images store it the other way round."""
    y, x = np.mgrid[:200, :260]
    bump = 40 + 150 * np.exp(-((y - 100) ** 2 + (x - 130) ** 2) / 4000)
    pixels = (255 - bump if inverted else bump).astype(np.uint8)
    return GrayImage(pixels, GrayScale.of_bits(8, inverted=inverted))


def flat(low: int = 80, high: int = 140) -> GrayBox:
    return GrayBox.flat(ROI, GrayRange(low, high))


def tilted() -> GrayBox:
    low = np.array([[70.0, 80.0], [75.0, 90.0]])
    return GrayBox(ROI, low, low + 60)


SPACE = CloudSpace.of(hill(), ROI)


class Listener:
    """Writes down what a view says."""

    def __init__(self, view: CloudView) -> None:
        self.said: list[str] = []
        self.dragged: list[GrayBox] = []
        self.released: list[GrayBox] = []
        view.drag_started.connect(lambda: self.said.append("start"))
        view.box_dragged.connect(self._drag)
        view.box_released.connect(self._release)

    def _drag(self, box: GrayBox) -> None:
        self.said.append("drag")
        self.dragged.append(box)

    def _release(self, box: GrayBox) -> None:
        self.said.append("release")
        self.released.append(box)


class Window(QWidget):
    """Stands for the main window: writes down the keys that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[int] = []

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        assert event is not None
        self.keys.append(event.key())


@pytest.fixture(scope="module")
def only_view(qapp: QApplication) -> Iterator[CloudView]:
    """One canvas for all tests: making one takes longer than any test."""
    window = Window()
    window.resize(380, 330)
    view = CloudView(window, max_points=4000)
    view.setGeometry(0, 0, 380, 330)
    window.show()
    QTest.qWaitForWindowExposed(window)
    yield view
    view.close()
    window.close()
    window.deleteLater()
    QTest.qWait(1)


@pytest.fixture
def view(only_view: CloudView) -> Iterator[CloudView]:
    only_view.setGeometry(0, 0, 380, 330)
    only_view.set_cloud(hill(), ROI)
    only_view.set_box(flat())
    only_view.reset_camera()
    QTest.qWait(1)
    yield only_view
    for signal in (only_view.drag_started, only_view.box_dragged, only_view.box_released):
        with contextlib.suppress(TypeError):  # nobody listened
            signal.disconnect()
    only_view.model.mouse_drag_callbacks[1:] = []
    only_view.set_accent(None)
    only_view.setPalette(QPalette())


def handle(view: CloudView, face: str, corner: tuple[int, int] | None = None) -> Handle:
    return next(h for h in view.handles() if (h.face, h.knot) == (face, corner))


def pixel(view: CloudView, at: tuple[float, float, float]) -> tuple[float, float]:
    x, y = view.projection().to_canvas([at])[0]
    return float(x), float(y)


def raised(view: CloudView, grip: Handle, grays: float) -> tuple[float, float]:
    """Return the canvas pixel of a place that is so many gray values above a handle."""
    return pixel(view, (grip.at[0] + grays * SPACE.up, grip.at[1], grip.at[2]))


def drag(
    view: CloudView,
    start: tuple[float, float],
    end: tuple[float, float],
    mouse: Mouse | None = None,
) -> None:
    """Drag as a hand does; napari takes a new position every 5 ms at most."""
    mouse = mouse or Mouse(view.canvas)
    path = straight(start, end, 4)
    mouse.press(*path[0])
    for point in path[1:]:
        QTest.qWait(8)
        mouse.move(*point)
    QTest.qWait(8)
    mouse.release(*end)
    QTest.qWait(8)


def points(view: CloudView) -> Points:
    return view.model.layers["cloud"]


def count(view: CloudView) -> int:
    """Return how many points there are: those left over in the layer have no size."""
    sizes = np.asarray(points(view).size)
    shown = int(np.count_nonzero(sizes))
    assert (sizes[:shown] > 0).all() and len(sizes) == view._max_points
    return shown


def colours(view: CloudView) -> np.ndarray:
    return np.asarray(points(view).face_color)[: count(view)]


def shown_values(view: CloudView) -> np.ndarray:
    """Read the gray values of the shown points back from where they stand."""
    middle = (SPACE.gray.low + SPACE.gray.high) / 2
    return np.rint(points(view).data[: count(view), 0] / SPACE.up + middle).astype(int)


def test_the_projection_is_that_of_the_canvas(view: CloudView) -> None:
    """A press reports the world position under the mouse: it must lie on our ray."""
    seen = []
    view.model.mouse_drag_callbacks.append(
        lambda model, event: seen.append(
            (event.pos, np.array(event.position), np.array(event.view_direction))
        )
    )
    Mouse(view.canvas).drag([(120.0, 90.0), (120.0, 90.0)])
    pos, position, direction = seen[0]
    eye, ours = view.projection().ray(pos)
    assert np.allclose(ours / np.linalg.norm(ours), direction, atol=1e-3)
    away = np.cross(direction, position - eye)
    assert np.linalg.norm(away) < 0.01 * np.linalg.norm(position - eye)


@pytest.mark.parametrize("face", [LOW, HIGH])
@pytest.mark.parametrize("grays", [-15, 25])
def test_dragging_a_handle_moves_its_threshold_and_leaves_the_other(
    view: CloudView, face: str, grays: int
) -> None:
    heard = Listener(view)
    grip = handle(view, face)
    drag(view, pixel(view, grip.at), raised(view, grip, grays))
    assert heard.said[0] == "start" and heard.said[-1] == "release"
    assert heard.said.count("start") == heard.said.count("release") == 1
    assert len(heard.dragged) >= 3
    for box in heard.dragged:
        assert box.roi == ROI
        assert (box.gray.high if face == LOW else box.gray.low) == (140 if face == LOW else 80)
    moved = heard.released[0].gray.low if face == LOW else heard.released[0].gray.high
    assert moved == pytest.approx((80 if face == LOW else 140) + grays, abs=1)
    assert handle(view, face).value == moved  # and it is shown where it was let go


def test_the_handle_stays_under_the_mouse_from_any_side(view: CloudView) -> None:
    drag(view, (20.0, 300.0), (95.0, 250.0))
    grip = handle(view, HIGH)
    start = pixel(view, grip.at)
    end = raised(view, grip, 30)
    drag(view, start, end)
    assert pixel(view, handle(view, HIGH).at) == pytest.approx(end, abs=2)


def test_an_edge_of_a_face_can_be_dragged_too(view: CloudView) -> None:
    heard = Listener(view)
    corners = [SPACE.place(140.5, ROI.y1, x)[0] for x in (ROI.x0, ROI.x1)]
    spot = np.mean([pixel(view, tuple(c)) for c in corners], axis=0)
    drag(view, tuple(spot), (spot[0], spot[1] - 20))
    assert heard.released[0].gray.high > 145
    assert heard.released[0].gray.low == 80


def test_a_drag_beside_the_handles_turns_and_changes_no_box(view: CloudView) -> None:
    heard = Listener(view)
    before = view.projection()
    drag(view, (15.0, 310.0), (75.0, 290.0))
    after = view.projection()
    assert heard.said == []
    assert not np.allclose(before.view, after.view)
    assert after.up[0] > 0.3 and after.right[0] == pytest.approx(0, abs=1e-9)  # gray stays up
    assert pixel(view, (0, 0, 0)) == pytest.approx(tuple(before.to_canvas([(0, 0, 0)])[0]), abs=12)


def test_the_near_side_follows_the_mouse_when_turned(view: CloudView) -> None:
    towards = -np.array(view.projection().view) * 30
    x_before, _ = pixel(view, tuple(towards))
    drag(view, (15.0, 310.0), (45.0, 310.0))
    assert pixel(view, tuple(towards))[0] > x_before + 3


def test_shift_and_the_right_button_shift_the_view(view: CloudView) -> None:
    for mouse in (Mouse(view.canvas), Mouse(view.canvas, Qt.MouseButton.RightButton)):
        if mouse.button == Qt.MouseButton.LeftButton:
            mouse.modifiers = Qt.KeyboardModifier.ShiftModifier
        before = np.array(pixel(view, (0, 0, 0)))
        direction = view.projection().view
        drag(view, (15.0, 310.0), (45.0, 290.0), mouse)
        assert np.allclose(pixel(view, (0, 0, 0)) - before, (30, -20), atol=3)
        assert view.projection().view == pytest.approx(direction)


def test_the_wheel_zooms_about_the_middle(view: CloudView) -> None:
    before = view.projection()
    position, far = QPointF(60, 60), QPointF(view.canvas.mapToGlobal(QPoint(60, 60)))
    event = QWheelEvent(
        position, far, QPoint(0, 0), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(view.canvas, event)
    QTest.qWait(10)
    after = view.projection()
    assert after.zoom == pytest.approx(before.zoom * 1.21)
    assert after.center == pytest.approx(before.center)
    view.reset_camera()
    assert view.projection().zoom == pytest.approx(before.zoom, rel=0.01)


@pytest.mark.parametrize(("dy", "expected"), [(-30, "high"), (30, "low")])
def test_where_top_and_bottom_meet_the_direction_tells_which_is_meant(
    view: CloudView, dy: float, expected: str
) -> None:
    view.set_box(flat(110, 110))
    heard = Listener(view)
    x, y = pixel(view, handle(view, LOW).at)
    drag(view, (x, y), (x, y + dy))
    gray = heard.released[0].gray
    assert (gray.low == 110, gray.high == 110) == (expected == "high", expected == "low")
    assert gray.width > 5


def test_a_box_far_below_the_axis_can_be_pulled_up(view: CloudView) -> None:
    view.set_box(flat(2, 3))
    heard = Listener(view)
    x, y = pixel(view, handle(view, LOW).at)
    drag(view, (x, y), (x, y - 30))
    assert heard.released[0].gray.low == 2
    assert heard.released[0].gray.high > SPACE.gray.low + 5


def test_a_double_click_resets_the_camera(view: CloudView) -> None:
    before = view.projection()
    drag(view, (15.0, 310.0), (75.0, 290.0))
    Mouse(view.canvas).double_click(15.0, 310.0)
    QTest.qWait(10)
    after = view.projection()
    assert np.allclose(before.view, after.view)
    assert np.allclose(before.center, after.center, atol=0.5)
    assert before.zoom == pytest.approx(after.zoom, rel=0.02)


def test_a_chosen_view_survives_another_roi_and_a_resize_only_if_it_was_chosen(
    view: CloudView,
) -> None:
    fitted = view.projection().zoom
    view.resize(500, 430)
    view.window().resize(500, 430)
    QTest.qWait(20)
    assert view.projection().zoom > fitted * 1.15
    drag(view, (15.0, 310.0), (75.0, 290.0))
    chosen = view.projection().view
    view.set_cloud(hill(), RoiBox(30, 30, 100, 100))
    assert view.projection().view == pytest.approx(chosen)


def test_after_a_resize_handles_are_where_they_are_drawn(view: CloudView) -> None:
    drag(view, (15.0, 310.0), (75.0, 290.0))  # a chosen view is not fitted, which would redraw
    for height in (430, 300):
        view.window().resize(380, height)
        view.resize(380, height)
        QTest.qWait(50)
        drawn = view._canvas.overlay._picture
        assert drawn is not None
        for grip in view.handles():
            there = drawn.camera.to_canvas([grip.at])[0]
            assert there == pytest.approx(pixel(view, grip.at))
            assert view.handle_at(there) is not None


def test_everything_is_in_view_by_default(view: CloudView) -> None:
    spots = view.projection().to_canvas(SPACE.corners())
    assert (spots > 10).all()
    assert (spots < (view.canvas.width() - 10, view.canvas.height() - 10)).all()


def test_a_corner_of_a_tilt_is_dragged_alone(view: CloudView) -> None:
    view.set_box(tilted())
    heard = Listener(view)
    grip = handle(view, HIGH, (1, 1))
    drag(view, pixel(view, grip.at), raised(view, grip, -20))
    change = heard.released[0].high - tilted().high
    assert change[1, 1] == pytest.approx(-20, abs=1)
    assert np.count_nonzero(change) == 1
    assert np.array_equal(heard.released[0].low, tilted().low)


def test_one_gray_of_a_bent_box_is_dragged_alone(view: CloudView) -> None:
    bent = tilted().with_nets(3)
    view.set_box(bent)
    heard = Listener(view)
    grip = handle(view, HIGH, (1, 1))
    drag(view, pixel(view, grip.at), raised(view, grip, -20))
    change = heard.released[0].high - bent.high
    assert change[1, 1] == pytest.approx(-20, abs=1.5)  # to a whole gray value
    assert np.count_nonzero(change) == 1
    assert np.array_equal(heard.released[0].low, bent.low)


def test_the_face_of_a_tilt_keeps_its_shape(view: CloudView) -> None:
    view.set_box(tilted())
    heard = Listener(view)
    grip = handle(view, LOW)
    drag(view, pixel(view, grip.at), raised(view, grip, -15))
    change = heard.released[0].low - tilted().low
    assert np.ptp(change) == 0
    assert change[0, 0] == pytest.approx(-15, abs=1)


def test_an_inverted_image_has_bright_up_and_stored_thresholds(view: CloudView) -> None:
    view.set_cloud(hill(inverted=True), ROI)
    view.set_box(flat(115, 175))
    low, high = handle(view, LOW), handle(view, HIGH)
    assert low.at[0] > high.at[0]
    assert pixel(view, low.at)[1] < pixel(view, high.at)[1]
    heard = Listener(view)
    start = pixel(view, low.at)
    drag(view, start, (start[0], start[1] - 25))
    assert heard.released[0].gray.low < 110
    assert heard.released[0].gray.high == 175


def test_points_in_the_box_are_tinted_and_only_they(view: CloudView) -> None:
    gray_only = colours(view)
    tinted = np.ptp(gray_only[:, :3], axis=1) > 0.05
    values = shown_values(view)
    assert np.array_equal(tinted, (values >= 80) & (values <= 140))
    assert 0 < tinted.sum() < len(tinted)


def test_points_of_a_small_view_keep_their_colours(view: CloudView) -> None:
    """Points that are enlarged to a least size are drawn in the colour of their edge."""
    view.set_accent(QColor(255, 0, 0))
    view.set_box(flat(0, 255))  # every point is inside
    view.setGeometry(0, 0, 200, 150)
    QTest.qWait(50)
    shot = view.screenshot().convertToFormat(QImage.Format.Format_RGB32)
    edge = QColor("dimgray").rgb()
    pixels = [shot.pixel(x, y) for x in range(shot.width()) for y in range(shot.height())]
    assert edge not in pixels
    assert sum(QColor(p).red() > 100 + QColor(p).green() for p in pixels) > 100


def test_colours_follow_on_release_not_while_dragging(view: CloudView) -> None:
    uploads = []
    points(view).events.face_color.connect(lambda event: uploads.append(None))
    during = []
    view.box_dragged.connect(lambda box: during.append(len(uploads)))
    view.box_dragged.connect(lambda box: view.set_box(box, refresh_colours=False))
    view.box_released.connect(view.set_box)  # what a controller does
    grip = handle(view, HIGH)
    drag(view, pixel(view, grip.at), raised(view, grip, 25))
    assert during and not any(during)
    assert len(uploads) == 1
    values = shown_values(view)
    tinted = np.ptp(colours(view)[:, :3], axis=1) > 0.05
    assert np.array_equal(tinted, (values >= 80) & (values <= handle(view, HIGH).value))


def test_whoever_answers_a_drag_has_the_last_word(view: CloudView) -> None:
    view.box_dragged.connect(
        lambda box: view.set_box(flat(80, min(box.gray.high, 150)), refresh_colours=False)
    )
    heard = Listener(view)
    grip = handle(view, HIGH)
    drag(view, pixel(view, grip.at), raised(view, grip, 30))
    assert heard.released[0].gray == GrayRange(80, 150)


def test_a_click_on_a_handle_changes_nothing(view: CloudView) -> None:
    view.set_box(flat(80, 255))  # far above the axis: shown at its end
    heard = Listener(view)
    at = pixel(view, handle(view, HIGH).at)
    drag(view, at, at)
    assert heard.said == []


def test_a_box_taken_away_in_mid_drag_ends_it(view: CloudView) -> None:
    heard = Listener(view)
    at = pixel(view, handle(view, HIGH).at)
    mouse = Mouse(view.canvas)
    mouse.press(*at)
    view.set_box(None)
    for step in (10, 20):
        mouse.move(at[0], at[1] - step)
        QTest.qWait(8)
    mouse.release(at[0], at[1] - 20)
    assert heard.said == []
    assert view.handles() == ()


def test_the_mouse_shows_what_it_can_grab(view: CloudView, qtbot: QtBot) -> None:
    mouse, shape = Mouse(view.canvas), Qt.CursorShape

    def shown_at(x: float, y: float) -> int:
        mouse.move(
            x, y
        )  # again and again, as a hand does: the canvas drops moves in close succession
        return view.canvas.cursor().shape()

    grip = pixel(view, handle(view, HIGH).at)
    qtbot.waitUntil(lambda: shown_at(*grip) == shape.SizeVerCursor)
    qtbot.waitUntil(lambda: shown_at(15.0, 310.0) == shape.OpenHandCursor)


def test_few_points_are_shown_and_all_levels_of_detail_fit(qtbot: QtBot) -> None:
    view = CloudView(max_points=500)
    qtbot.addWidget(view)
    view.set_cloud(hill(), ROI)
    assert 300 < count(view) <= 500
    view.set_cloud(hill(), RoiBox(100, 100, 103, 104))
    assert count(view) == 12
    view.close()


def test_the_cloud_is_built_once_per_roi(view: CloudView) -> None:
    image = hill()
    view.set_cloud(image, ROI)
    before = points(view).data
    view.set_cloud(image, ROI)
    assert points(view).data is before
    view.set_cloud(image, RoiBox(0, 0, 100, 100))
    assert points(view).data is not before


def test_a_new_cloud_with_its_box_is_uploaded_as_often_as_new_colours(view: CloudView) -> None:
    """Once for the points, once for their colours: each takes napari half a frame."""
    uploads = []
    points(view).events.set_data.connect(lambda event: uploads.append("data"))
    points(view).events.face_color.connect(lambda event: uploads.append("colours"))
    roi = RoiBox(20, 20, 110, 90)
    view.show_roi(hill(), roi, GrayBox.flat(roi, GrayRange(90, 120)))
    assert uploads == ["data"]
    tinted = np.ptp(colours(view)[:, :3], axis=1) > 0.05
    assert 0 < tinted.sum() < count(view)


def test_warming_up_shows_nothing_and_gives_way_to_a_cloud(view: CloudView, qtbot: QtBot) -> None:
    empty = CloudView()
    qtbot.addWidget(empty)
    empty._warm_next()
    assert [layer.visible for layer in empty.model.layers] == [True, False]
    assert not np.any(empty.model.layers["cloud"].size)
    empty._warm_next()
    assert [layer.visible for layer in empty.model.layers] == [False, True]
    empty._warm_next()
    assert not any(layer.visible for layer in empty.model.layers)
    empty._warm_later.drop()
    empty.close()
    view._warm_next()
    assert all(layer.visible for layer in view.model.layers)


def test_an_example_is_shown_for_its_time_and_never_over_a_cloud(
    view: CloudView, qtbot: QtBot
) -> None:
    empty = CloudView()
    qtbot.addWidget(empty)
    with empty.example():
        assert all(layer.visible for layer in empty.model.layers)
    assert not any(layer.visible for layer in empty.model.layers)
    empty.close()
    before = points(view).data
    with view.example():
        assert points(view).data is before
    assert all(layer.visible for layer in view.model.layers)


def test_an_roi_beside_the_image_is_refused_and_the_view_stays(view: CloudView) -> None:
    with pytest.raises(GeometryError):
        view.set_cloud(hill(), RoiBox(1000, 1000, 1100, 1100))
    assert len(view.handles()) == 2


def test_a_constant_roi_and_one_pixel_are_shown(view: CloudView) -> None:
    image = GrayImage(np.full((50, 50), 77, dtype=np.uint8), GrayScale.of_bits(8))
    for roi in (RoiBox(0, 0, 50, 50), RoiBox(3, 3, 4, 4)):
        view.set_cloud(image, roi)
        view.set_box(GrayBox.flat(roi, GrayRange(77, 77)))
        QTest.qWait(10)
        assert np.isfinite(points(view).data).all()
        assert view.screenshot().width() == view.width()


def test_the_empty_state_shows_a_text_and_no_layer(view: CloudView) -> None:
    full = view.screenshot()
    view.clear()
    QTest.qWait(20)
    assert not any(layer.visible for layer in view.model.layers)
    assert view.handles() == ()
    assert view.screenshot() != full
    heard = Listener(view)
    drag(view, (190.0, 150.0), (190.0, 100.0))
    assert heard.said == []


def test_a_smaller_cloud_after_the_empty_state_is_drawn(view: CloudView) -> None:
    """A hidden layer keeps the indices of the points it had."""
    small = RoiBox(100, 100, 104, 104)
    view.clear()
    view.set_cloud(hill(), small)
    QTest.qWait(20)
    assert count(view) == len(colours(view)) == 16
    assert view.screenshot().width() == view.width()


def test_a_screenshot_shows_cloud_box_and_handles(view: CloudView) -> None:
    view.set_accent(QColor("#00ff40"))
    QTest.qWait(20)
    shot = view.screenshot().convertToFormat(QImage.Format.Format_RGB32)
    x, y = pixel(view, handle(view, HIGH).at)
    offset = view.canvas.mapTo(view, view.canvas.rect().topLeft())
    spot = QColor(shot.pixel(round(x) + offset.x(), round(y) + offset.y()))
    assert spot.green() > 200 and spot.red() < 60
    ratio = shot.devicePixelRatio()
    greens = sum(
        QColor(shot.pixel(i, j)).green() > QColor(shot.pixel(i, j)).red() + 40
        for i in range(0, int(view.width() * ratio), 4)
        for j in range(0, int(view.height() * ratio), 4)
    )
    assert greens > 200  # the tinted points and the faces, not the handles alone


def test_it_follows_the_palette(view: CloudView) -> None:
    grounds = []
    for ground, text in (("#23242b", "#f0f1f2"), ("#ebe7e6", "#1e1e21")):
        palette = view.palette()
        palette.setColor(QPalette.ColorRole.Window, QColor(ground))
        palette.setColor(QPalette.ColorRole.WindowText, QColor(text))
        view.setPalette(palette)
        grounds.append(float(np.mean(view.model.canvas.background_color[:3])))
    dark, light = grounds
    assert dark < 0.2 and light > 0.85
    assert colours(view)[:, :3].min() < 0.2  # dark points on light ground


def test_keys_go_to_the_window_and_never_to_the_canvas(view: CloudView) -> None:
    window = view.window()
    assert isinstance(window, Window)
    window.keys.clear()
    plain = [Qt.Key.Key_A, Qt.Key.Key_Delete, Qt.Key.Key_3, Qt.Key.Key_G]
    for key in plain:
        QTest.keyClick(view.canvas, key)
    QTest.keyClick(view.canvas, Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    assert window.keys[:4] == [int(key) for key in plain]
    assert int(Qt.Key.Key_Y) in window.keys
    assert view.model.dims.ndisplay == 3
    assert len(view.model.layers) == 2


def test_files_dropped_on_the_cloud_are_not_opened_in_it(view: CloudView) -> None:
    widget: QWidget | None = view.canvas
    while widget is not None and widget is not view:
        assert not widget.acceptDrops()
        widget = widget.parentWidget()


def deletions(view: CloudView) -> tuple[int, list[QOpenGLContext | None]]:
    """Return how much a canvas holds in graphics memory, and in which context each is deleted."""
    context = view._canvas._viewer.canvas._scene_canvas.context
    made = list(context.shared.parser._objects.values())
    contexts: list[QOpenGLContext | None] = []
    for one in made:
        one.delete = lambda: contexts.append(QOpenGLContext.currentContext())
    return len(made), contexts


def tones(view: CloudView) -> int:
    """Return how many colours a screenshot shows: few without a cloud."""
    shot = view.screenshot()
    return len({shot.pixel(x, y) for x in range(0, shot.width(), 8) for y in range(40, 160, 8)})


def draw(qtbot: QtBot, view: CloudView) -> None:
    """Show a view's window, and a cloud with a box in it."""
    with qtbot.waitExposed(view.window()):
        view.window().show()
    view.set_cloud(hill(), ROI)
    view.set_box(flat())
    QTest.qWait(30)


def test_a_closed_view_leaks_nothing_and_ignores_late_calls(qtbot: QtBot) -> None:
    view = CloudView()
    view.resize(380, 330)
    draw(qtbot, view)
    left = [weakref.ref(view.model), weakref.ref(points(view))]
    (held, deleted), context = deletions(view), view.canvas.context()
    view.close()
    assert deleted == [context] * held and held
    view.set_cloud(hill(), RoiBox(0, 0, 9, 9))
    view.set_box(None)
    view.close()
    view.deleteLater()
    del view
    QTest.qWait(20)
    gc.collect()
    assert [ref() for ref in left] == [None, None]


def test_a_floated_dock_goes_on_drawing(qtbot: QtBot) -> None:
    """OpenGL loses its data when a canvas comes to another window; drawing on ends the program."""
    window, view = QMainWindow(), CloudView(max_points=500)
    qtbot.addWidget(window)
    window.setCentralWidget(QWidget())
    dock = QDockWidget()
    dock.setWidget(view)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    window.resize(700, 400)
    draw(qtbot, view)
    first, (held, deleted) = view.canvas, deletions(view)
    for floating in ([True], [False], [True, False]):  # the last comes back before it is drawn
        for to in floating:
            dock.setFloating(to)
        QTest.qWait(100)
        assert view.canvas is not first
        assert len(deleted) == held and None not in deleted and held
        view.set_box(flat(90, 150))
        heard = Listener(view)
        drag(view, pixel(view, handle(view, HIGH).at), raised(view, handle(view, HIGH), 15))
        assert heard.released[0].gray.high == pytest.approx(165, abs=1)
        assert tones(view) > 10  # there is a cloud
        first, (held, deleted) = view.canvas, deletions(view)
    view.close()


def test_leaving_the_canvas_ends_the_highlight(view: CloudView) -> None:
    Mouse(view.canvas).move(*pixel(view, handle(view, HIGH).at))
    QTest.qWait(20)
    lit = view.screenshot()
    QApplication.sendEvent(view.canvas, QEvent(QEvent.Type.Leave))
    QTest.qWait(20)
    assert view.screenshot() != lit


def test_a_view_that_comes_back_to_its_window_goes_on_drawing(qtbot: QtBot) -> None:
    """Its context is another one by then, although the window is the same."""
    window, view = QMainWindow(), CloudView(max_points=500)
    qtbot.addWidget(window)
    window.setCentralWidget(view)
    window.resize(500, 400)
    draw(qtbot, view)
    first = view.canvas
    window.takeCentralWidget()
    other = QWidget()
    qtbot.addWidget(other)
    view.setParent(other)
    window.setCentralWidget(view)
    view.show()
    qtbot.waitUntil(lambda: view.canvas is not first and tones(view) > 10)
