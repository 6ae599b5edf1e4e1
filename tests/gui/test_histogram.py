from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QImage, QPalette
from qtpy.QtTest import QTest

from napari_graydet.core.grayscale import GrayScale
from napari_graydet.gui.histogram.view import HistogramView
from napari_graydet.gui.theme import ACCENT_ON_DARK
from tests.gui.mouse import Mouse, straight

pytestmark = pytest.mark.gui

SHIFT = Qt.KeyboardModifier.ShiftModifier
DEEP = GrayScale(0, 65535, 1000.0, 9000.0)


class Listener:
    """Writes down what a view says."""

    def __init__(self, view: HistogramView) -> None:
        self.started = 0
        self.dragged: list[tuple[int, int]] = []
        self.released: list[tuple[int, int]] = []
        view.drag_started.connect(self._start)
        view.range_dragged.connect(lambda low, high: self.dragged.append((low, high)))
        view.range_released.connect(lambda low, high: self.released.append((low, high)))

    def _start(self) -> None:
        self.started += 1


@pytest.fixture
def view(qtbot: QtBot) -> Iterator[HistogramView]:
    view = HistogramView()
    qtbot.addWidget(view)
    view.resize(380, 150)
    with qtbot.waitExposed(view):
        view.show()
    rng = np.random.default_rng(0)
    view.set_values(rng.integers(0, 256, (80, 90)).astype(np.uint8), GrayScale.of_bits(8))
    view.set_range(96, 214)
    yield view


def drag(view: HistogramView, start: QPoint, by: int, steps: int = 6) -> None:
    Mouse(view).drag(straight((start.x(), start.y()), (start.x() + by, start.y()), steps))


def handle(view: HistogramView, part: str) -> QPoint:
    return view.handle_position(part).toPoint()


def picture(view: HistogramView) -> QImage:
    return view.grab().toImage()


def has_colour(image: QImage, colour: QColor, tolerance: int = 12) -> bool:
    """Tell whether any pixel is about of a colour."""
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    data = image.constBits()
    assert data is not None
    data.setsize(image.sizeInBytes())
    pixels = np.frombuffer(bytes(data), np.uint8).reshape(image.height(), -1, 4)
    wanted = np.array([colour.blue(), colour.green(), colour.red()])
    away = np.abs(pixels[..., :3].astype(int) - wanted).max(axis=-1)
    return bool((away <= tolerance).any())


def test_dragging_the_high_handle_moves_the_high_threshold_alone(view: HistogramView) -> None:
    heard = Listener(view)
    drag(view, handle(view, "high"), -60)
    assert heard.started == 1
    assert len(heard.dragged) >= 5
    assert {low for low, _ in heard.dragged} == {96}
    highs = [high for _, high in heard.dragged]
    assert highs == sorted(highs, reverse=True)
    assert heard.released == [heard.dragged[-1]]
    per_value = (view.width() - 28) / 256
    assert heard.released[0][1] == pytest.approx(214 - 60 / per_value, abs=1.5)


def test_dragging_the_low_handle_moves_the_low_threshold_alone(view: HistogramView) -> None:
    heard = Listener(view)
    drag(view, handle(view, "low"), 40)
    assert {high for _, high in heard.dragged} == {214}
    assert heard.released[0][0] > 96


def test_a_press_beside_the_handle_does_not_make_it_jump(view: HistogramView) -> None:
    heard = Listener(view)
    start = handle(view, "low") + QPoint(-6, 20)
    drag(view, start, 0, steps=1)
    assert heard.dragged == []
    assert heard.released == [(96, 214)]


def test_the_low_threshold_stops_at_the_high_one(view: HistogramView) -> None:
    heard = Listener(view)
    drag(view, handle(view, "low"), 300)
    assert heard.released == [(214, 214)]
    drag(view, handle(view, "high"), -300)
    assert heard.released[-1] == (214, 214)


def test_handles_that_met_can_be_parted_on_either_side(view: HistogramView) -> None:
    view.set_range(150, 150)
    heard = Listener(view)
    drag(view, handle(view, "low") + QPoint(-4, 0), -40)
    assert heard.released[-1][0] < 140 and heard.released[-1][1] == 150
    view.set_range(150, 150)
    drag(view, handle(view, "high") + QPoint(4, 0), 40)
    assert heard.released[-1][0] == 150 and heard.released[-1][1] > 160


def test_dragging_the_band_keeps_its_width_and_stops_at_the_axis(view: HistogramView) -> None:
    heard = Listener(view)
    middle = (handle(view, "low") + handle(view, "high")) / 2
    drag(view, middle, 30)
    assert {high - low for low, high in heard.dragged} == {118}
    assert heard.released[0][0] > 96
    drag(view, (handle(view, "low") + handle(view, "high")) / 2, 200)
    assert heard.released[-1] == (255 - 118, 255)


def test_a_band_whose_end_lies_beyond_the_axis_does_not_jump(view: HistogramView) -> None:
    values = np.random.default_rng(0).integers(2000, 3000, 5000).astype(np.uint16)
    view.set_values(values, GrayScale(0, 65535, 2000.0, 3000.0))
    view.set_range(0, 2400)
    heard = Listener(view)
    drag(view, (handle(view, "low") + handle(view, "high")) / 2, 12)
    assert heard.dragged and all(high - low == 2400 for low, high in heard.dragged)
    assert 10 < heard.released[0][0] < 120, "as far as the mouse, not to the end of the axis"


def test_a_press_beside_the_band_changes_nothing(view: HistogramView) -> None:
    heard = Listener(view)
    drag(view, QPoint(30, 70), 20)
    assert (heard.started, heard.dragged, heard.released) == (0, [], [])


def test_the_right_button_drags_nothing(view: HistogramView) -> None:
    heard = Listener(view)
    start = handle(view, "low")
    mouse = Mouse(view, Qt.MouseButton.RightButton)
    mouse.drag(straight((start.x(), start.y()), (start.x() + 30, start.y())))
    assert heard.started == 0


def test_without_a_range_nothing_can_be_grabbed(view: HistogramView) -> None:
    heard = Listener(view)
    view.set_range(None)
    assert view.range() is None
    drag(view, QPoint(190, 70), 40)
    QTest.keyClick(view, Qt.Key.Key_Right)
    assert (heard.started, heard.dragged, heard.released) == (0, [], [])
    with pytest.raises(ValueError, match="No range"):
        view.handle_position("low")


def test_whoever_answers_a_drag_has_the_last_word(view: HistogramView) -> None:
    view.range_dragged.connect(lambda low, high: view.set_range(low, min(high, 200)))
    heard = Listener(view)
    drag(view, handle(view, "high"), 30)
    assert heard.released == [(96, 200)]


def test_a_range_taken_away_in_mid_drag_ends_it(view: HistogramView) -> None:
    heard = Listener(view)
    start, mouse = handle(view, "low"), Mouse(view)
    mouse.press(start.x(), start.y())
    view.set_range(None)
    mouse.move(start.x() + 30, start.y())
    mouse.release(start.x() + 30, start.y())
    assert heard.dragged == heard.released == []


def test_escape_takes_a_drag_back(view: HistogramView) -> None:
    heard = Listener(view)
    start, mouse = handle(view, "low"), Mouse(view)
    mouse.press(start.x(), start.y())
    mouse.move(start.x() + 30, start.y())
    assert view.range() != (96, 214)
    QTest.keyClick(view, Qt.Key.Key_Escape)
    assert heard.released == [(96, 214)]
    mouse.move(start.x() + 50, start.y())
    mouse.release(start.x() + 50, start.y())
    assert view.range() == (96, 214)
    assert len(heard.released) == 1


def test_an_inverted_axis_runs_from_black_to_white_in_stored_units(view: HistogramView) -> None:
    view.set_values(np.arange(256, dtype=np.uint8), GrayScale.of_bits(8, inverted=True))
    view.set_range(50, 100)
    assert handle(view, "high").x() < handle(view, "low").x()
    heard = Listener(view)
    drag(view, handle(view, "low"), 40)  # to the right: brighter, which is a smaller value
    assert heard.released[0][0] < 30
    assert heard.released[0][1] == 100
    view.setFocus()
    QTest.keyClick(view, Qt.Key.Key_Right)
    assert heard.released[-1][0] == heard.released[0][0] - 1


def test_the_end_of_a_deep_axis_opens_the_range_to_the_type(view: HistogramView) -> None:
    view.set_values(np.array([500, 2000, 8000, 60000], dtype=np.uint16), DEEP)
    view.set_range(3000, 6000)
    heard = Listener(view)
    drag(view, handle(view, "high"), 300)
    drag(view, handle(view, "low"), -300)
    assert heard.released == [(3000, 65535), (0, 65535)]


def test_a_threshold_beyond_the_axis_waits_at_its_end(view: HistogramView) -> None:
    view.set_values(np.array([2000, 8000], dtype=np.uint16), DEEP)
    view.set_range(3000, 65535)
    assert handle(view, "high").x() == pytest.approx(view.width() - 14, abs=1)
    heard = Listener(view)
    drag(view, handle(view, "high"), -20)
    assert 8000 < heard.released[0][1] < 9000


def test_arrow_keys_move_the_focused_threshold(view: HistogramView) -> None:
    view.activateWindow()
    view.setFocus()
    heard = Listener(view)
    QTest.keyClick(view, Qt.Key.Key_Right)
    QTest.keyClick(view, Qt.Key.Key_Left, SHIFT)
    assert heard.dragged == [(97, 214), (87, 214)]
    assert heard.released == [(97, 214), (87, 214)]
    assert heard.started == 2
    QTest.keyClick(view, Qt.Key.Key_Tab)
    QTest.keyClick(view, Qt.Key.Key_Up)
    assert view.range() == (87, 215)


def test_a_held_key_is_one_drag(view: HistogramView) -> None:
    heard = Listener(view)
    for _ in range(5):
        QTest.keyPress(view, Qt.Key.Key_Right)
    QTest.keyRelease(view, Qt.Key.Key_Right)
    assert heard.started == 1
    assert len(heard.dragged) == 5
    assert heard.released == [(101, 214)]


def test_keys_stop_at_the_type_and_at_the_other_threshold(view: HistogramView) -> None:
    view.set_range(3, 5)
    QTest.keyClick(view, Qt.Key.Key_Left, SHIFT)
    assert view.range() == (0, 5)
    QTest.keyClick(view, Qt.Key.Key_Right, SHIFT)
    assert view.range() == (5, 5)


def test_cursor_shapes_tell_what_can_be_grabbed(view: HistogramView) -> None:
    middle = (handle(view, "low") + handle(view, "high")) / 2
    shapes = []
    for pos in (handle(view, "low"), middle, QPoint(20, 70)):
        Mouse(view).move(pos.x(), pos.y())
        shapes.append(view.cursor().shape())
    wanted = Qt.CursorShape
    assert shapes == [wanted.SizeHorCursor, wanted.OpenHandCursor, wanted.ArrowCursor]


def test_the_band_is_tinted(view: HistogramView) -> None:
    assert has_colour(picture(view), QColor(ACCENT_ON_DARK)) or has_colour(
        picture(view), QColor("#c2570c")
    )
    view.set_accent(QColor("#00c0ff"))
    assert has_colour(picture(view), QColor("#00c0ff"))
    view.set_range(None)
    assert not has_colour(picture(view), QColor("#00c0ff"))


@pytest.mark.parametrize(("ground", "text"), [("#23242b", "#f0f1f2"), ("#ebe7e6", "#1e1e21")])
def test_it_follows_the_palette(view: HistogramView, ground: str, text: str) -> None:
    palette = view.palette()
    palette.setColor(QPalette.ColorRole.Window, QColor(ground))
    palette.setColor(QPalette.ColorRole.WindowText, QColor(text))
    view.setPalette(palette)
    shown = picture(view)
    assert has_colour(shown, QColor(ground), 8)  # the virtual display has 16 bits
    assert has_colour(shown, QColor(ACCENT_ON_DARK)) == (ground == "#23242b")


def test_the_empty_state_says_what_to_do_and_takes_no_mouse(view: HistogramView) -> None:
    full = picture(view)
    view.clear()
    empty = picture(view)
    assert view.range() is None
    assert empty != full
    heard = Listener(view)
    drag(view, QPoint(190, 70), 40)
    assert heard.started == 0
    view.set_values(np.zeros((0, 4), dtype=np.uint8), GrayScale.of_bits(8))
    assert picture(view) == empty


def test_extreme_inputs_are_drawn(view: HistogramView) -> None:
    view.set_values(np.full((40, 40), 7, dtype=np.uint8), GrayScale.of_bits(8))
    view.set_range(7, 7)
    picture(view)
    view.resize(60, 120)
    picture(view)
    signed = np.repeat(np.array([-20, -18], dtype=np.int16), [3, 9])
    view.set_values(signed, GrayScale(-32768, 32767, -20.0, -18.0))
    view.set_range(-20, -19)
    picture(view)
    drag(view, handle(view, "low"), 40)
    assert view.range() is not None


def test_it_can_be_named_by_a_screen_reader(view: HistogramView) -> None:
    assert "histogram" in view.accessibleName().lower()
    assert "threshold" in view.toolTip().lower()
