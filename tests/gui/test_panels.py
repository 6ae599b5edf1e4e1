from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayRange
from napari_graydet.errors import ProjectError
from napari_graydet.gui.image.layers import Tool
from napari_graydet.gui.panels.entries import STATE_ROLE, STATES
from napari_graydet.gui.panels.objects import BOX, BY, ROI
from napari_graydet.gui.workplace import IMAGES
from napari_graydet.project.schema import State
from napari_graydet.workflows.predict import Predictor
from tests.gui.conftest import Window
from tests.gui.fakes import BRIGHT, SHAPE, FakeBoxes, FakeRois, Wavering, make_folder
from tests.workflows.fakes import Shifts

pytestmark = pytest.mark.gui

REST = 15
"""As many looks at a height, 20 ms apart, without a change."""


def add_roi(window: Window) -> None:
    window.controller.add_roi(BRIGHT)
    window.wait(lambda: window.session.job is None and window.session.box is not None)
    window.wait(lambda: window.workplace.box.low.value() == window.session.box.low)


def test_histogram_cuboid_numbers_and_list_show_one_box(window: Window) -> None:
    add_roi(window)
    box, objects = window.workplace.box, window.workplace.objects
    assert box.histogram.range() == (150, 255)
    assert (box.low.value(), box.high.value()) == (150, 255)
    window.wait(lambda: len(box.cloud.handles()) >= 2)
    item = objects.list.topLevelItem(0)
    assert [item.text(i) for i in range(5)] == ["bone", "150 – 255", "", "0.80", "model"]
    assert "fake-box" in box._facts.text()


def test_the_cloud_keeps_its_size_whatever_is_said_of_the_box(
    make_window: Callable[..., Window],
) -> None:
    window = make_window(show=True)
    window.viewer.window._qt_window.resize(1400, 900)
    box = window.workplace.box
    window.wait(lambda: box.isVisible() and box._facts.width() < 400)
    window.wait_idle()
    settled = heights_at_rest(window)
    for lines in range(1, 4):
        box._facts.setText("\n".join(["Proposed by fake-box."] * lines))
        assert heights_at_rest(window) == settled


def heights_at_rest(window: Window) -> tuple[int, int]:
    """Wait until the layout moves no more: a list of objects takes its height some rounds later."""
    box = window.workplace.box
    seen: list[tuple[int, int]] = []
    while len(seen) < REST or len(set(seen[-REST:])) > 1:
        assert len(seen) < 100 * REST, seen
        QTest.qWait(20)
        seen.append((box.cloud.height(), box.histogram.height()))
    return seen[-1]


def test_both_scores_are_listed_and_a_wrong_object_goes_with_a_key(window: Window) -> None:
    window.controller.detection.image()
    window.wait_idle()
    window.wait(lambda: window.session.annotation.boxes)
    objects = window.workplace.objects.list
    item = objects.topLevelItem(0)
    assert (item.text(ROI), item.text(BOX)) == ("0.90", "0.80"), "the image names the first one"
    assert all(objects.headerItem().toolTip(column) for column in range(BY + 1))
    at = objects.visualItemRect(item).center()
    QTest.mouseClick(objects.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert window.session.roi_id == window.session.annotation.rois[0].id
    QTest.keyClick(objects, Qt.Key.Key_Delete)
    assert not window.session.annotation.rois and not window.session.annotation.boxes
    assert objects.topLevelItemCount() == 0
    window.controller.undo()
    assert len(window.session.annotation.rois) == 1


def test_a_number_typed_changes_all_views(window: Window) -> None:
    add_roi(window)
    box = window.workplace.box
    box.low.setValue(170)
    assert window.session.box.low == 170
    window.wait(lambda: box.histogram.range() == (170, 255))
    window.wait(lambda: {round(h.value) for h in box.cloud.handles()} >= {170})
    assert window.workplace.objects.list.topLevelItem(0).text(BY) == "you, from model"


def test_dragging_in_the_histogram_previews_and_the_release_stores(window: Window) -> None:
    add_roi(window)
    histogram, session = window.workplace.box.histogram, window.session
    revision = session.entry.revision
    histogram.range_dragged.emit(20, 60)
    histogram.range_dragged.emit(20, 100)
    window.wait(lambda: session.preview is not None and session.preview.high == 100)
    assert session.entry.revision == revision
    assert window.workplace.box.high.value() == 100
    histogram.range_released.emit(20, 101)
    assert session.preview is None and session.box.high == 101
    assert session.entry.revision == revision + 1
    window.qtbot.wait(80)
    assert session.preview is None, "no late preview after the release"


def test_dragging_in_the_cloud_previews_and_the_release_stores(window: Window) -> None:
    add_roi(window)
    cloud, session = window.workplace.box.cloud, window.session
    cloud.box_dragged.emit(GrayBox.flat(BRIGHT, GrayRange(180, 220)))
    window.wait(lambda: session.preview is not None)
    assert window.workplace.box.histogram.range() == (180, 220)
    cloud.box_released.emit(GrayBox.flat(BRIGHT, GrayRange(185, 220)))
    assert session.box.low == 185 and session.preview is None


def test_flat_tilt_clean_up_and_alternatives(window: Window) -> None:
    add_roi(window)
    box = window.workplace.box
    box.shapes[2].click()
    assert window.session.box.gray_box().k == 2
    box.shapes[3].click()
    assert window.session.box.gray_box().k == 3
    box.shapes[1].click()
    assert window.session.box.gray_box().k == 1
    menu = box.fit.menu()
    assert menu is not None and [a.text().split()[0] for a in menu.actions()] == [
        "Flat", "Tilted", "Bent",
    ]  # fmt: skip
    menu.actions()[2].trigger()
    window.wait(lambda: window.session.box.gray_box().k == 3)
    window.wait(lambda: "bent by 3 x 3 grays" in box._facts.text())
    assert [k for k, made in box.shapes.items() if made.isChecked()] == [3]
    window.controller.undo()
    box.cleanup.click()
    assert "bone" in window.session.annotation.cleanup
    box.cleanup.click()
    assert not window.session.annotation.cleanup
    assert box.alternatives.count() == 3
    box.alternatives.activated.emit(1)
    assert (window.session.box.low, window.session.box.high) == (100, 220)


def test_the_closed_list_of_alternatives_has_room_for_the_range_the_open_one_for_scores(
    window: Window,
) -> None:
    add_roi(window)
    choice = window.workplace.box.alternatives
    gray = window.session.box.gray_box().gray
    assert choice.closed_text() == f"{gray.low} – {gray.high}"
    assert all("0." in choice.itemText(row) for row in range(choice.count()))
    choice.setFixedWidth(60)  # as with large letters
    QTest.mousePress(choice, Qt.MouseButton.LeftButton)
    window.wait(lambda: choice.view().isVisible())
    assert choice.view().viewport().width() >= choice.view().sizeHintForColumn(0)
    choice.hidePopup()
    window.workplace.box.low.setValue(gray.low + 1)
    window.wait(lambda: choice.currentIndex() == -1)
    assert choice.closed_text() == "by hand"


def test_the_class_is_chosen_and_added(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_graydet.gui.panels import objects as module

    add_roi(window)
    combo = window.workplace.objects.classes
    combo.activated.emit(combo.findText("lung"))
    assert window.session.roi.label == "lung" and combo.currentText() == "lung"
    monkeypatch.setattr(module.QInputDialog, "getText", lambda *_: ("tooth", True))
    combo.activated.emit(combo.findText(module.NEW_CLASS))
    assert window.session.classes[-1] == "tooth" and window.session.roi.label == "tooth"
    monkeypatch.setattr(module.QInputDialog, "getText", lambda *_: ("", False))
    combo.activated.emit(combo.findText(module.NEW_CLASS))
    assert combo.currentText() == "tooth"


def test_the_strip_filters_and_follows(window: Window) -> None:
    images = window.viewer.window.dock_widgets[IMAGES]
    images.accept.click()
    window.wait(lambda: window.session.position == 1)
    assert images.progress.text() == "1/3 accepted"
    assert images.strip.currentIndex().row() == 1
    assert images.model.index(0).data(STATE_ROLE) is State.ACCEPTED
    images.filter.setCurrentIndex(images.filter.findData(State.ACCEPTED))
    assert images.model.rowCount() == 1 and not images.strip.currentIndex().isValid()
    images.strip.setCurrentIndex(images.model.index(0))
    window.wait(lambda: window.session.position == 0)
    images.filter.setCurrentIndex(0)
    images.next.click()
    window.wait(lambda: window.session.position == 1)


def test_the_strip_shows_the_most_doubtful_first_when_asked(window: Window) -> None:
    detection = window.controller.detection
    detection._factory = lambda: Predictor(roi_detector=Wavering(), box_detector=FakeBoxes())
    detection.all()
    window.wait_idle()
    images = window.viewer.window.dock_widgets[IMAGES]

    def stems() -> list[str]:
        role = int(Qt.ItemDataRole.DisplayRole)
        return [images.model.index(row).data(role)[-1] for row in range(images.model.rowCount())]

    images.order.setFocus()
    QTest.keyClick(images.order, Qt.Key.Key_Down)
    window.wait(lambda: stems() == ["1", "2", "0"])
    assert images.strip.currentIndex().row() == 2, "the image on the screen is where it is now"
    tip = images.model.index(0).data(int(Qt.ItemDataRole.ToolTipRole))
    assert tip.startswith("image_1.png: proposed, doubt 0.")
    QTest.keyClick(images.order, Qt.Key.Key_Up)
    window.wait(lambda: stems() == ["0", "1", "2"])


def test_thumbnails_come_from_the_background(window: Window) -> None:
    model = window.viewer.window.dock_widgets[IMAGES].model
    role = int(Qt.ItemDataRole.DecorationRole)
    window.wait(lambda: all(model.index(row).data(role) is not None for row in range(3)))
    assert model.index(0).data(role).width() > 40


def test_an_image_that_cannot_be_read_says_so_in_its_tile(window: Window) -> None:
    folder = make_folder(window.folder.parent / "broken")
    (folder / "image_1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    window.controller.open_folder(folder)
    model = window.viewer.window.dock_widgets[IMAGES].model
    role = int(Qt.ItemDataRole.DecorationRole)
    window.wait(lambda: window.session.folder == folder)
    window.wait(lambda: all(model.index(row).data(role) is not None for row in range(3)))
    assert [model.index(row).data(role).isNull() for row in range(3)] == [False, True, False]


def test_the_filter_is_a_menu_and_is_forgotten_with_the_folder(window: Window) -> None:
    images = window.viewer.window.dock_widgets[IMAGES]
    window.controller.accept()
    window.wait(lambda: window.session.position == 1)
    images.filter.setCurrentIndex([None, *STATES].index(State.ACCEPTED))
    assert images.model.rowCount() == 1 and images.previous.isEnabled()
    assert not images.next.isEnabled(), "no other one is listed"
    window.controller.open_folder(make_folder(window.folder.parent / "other"))
    window.wait(lambda: window.session.folder.name == "other")
    window.wait_idle()
    assert images.filter.currentIndex() == 0 and images.model.rowCount() == 3


def test_five_digits_have_room_in_bottom_and_top(window: Window) -> None:
    box = window.workplace.box
    plain = box.low.buttonSymbols()
    folder = window.folder.parent / "deep"
    folder.mkdir()
    deep = np.random.default_rng(0).integers(0, 65535, SHAPE).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    window.controller.open_folder(folder)
    window.wait(lambda: window.session.image is not None and window.session.folder == folder)
    window.wait(lambda: box.high.maximum() == 65535)
    assert box.low.buttonSymbols() != plain


def test_saved_and_not_saved_are_told(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    images, message = window.viewer.window.dock_widgets[IMAGES], window.workplace.message
    add_roi(window)
    assert images.saved.text() == "saved" and "just now" in images.saved.toolTip()

    def refuse(*args: object, **more: object) -> int:
        raise ProjectError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(window.controller.recorder.store, "save", refuse)
        window.controller.set_range(1, 2)
        assert images.saved.text() == "not saved" and "disk is full" in message.text()
        assert not message._again.isHidden() and message._mine.isHidden()
    message._again.click()
    assert images.saved.text() == "saved" and "nothing was lost" in message.text()


def test_the_export_panel_writes_what_is_accepted(window: Window) -> None:
    add_roi(window)
    expected = window.session.masks.map.copy()
    panel = window.workplace.export
    assert not panel.start.isEnabled()
    window.controller.accept()
    out = window.folder.parent / "out"
    panel.folder.setText(str(out))
    assert panel.start.isEnabled()
    panel.start.click()
    window.wait(lambda: panel.result.text() and panel.start.isEnabled())
    assert panel.result.text().startswith("1 images written")
    np.testing.assert_array_equal(np.asarray(Image.open(out / "masks" / "image_0.png")), expected)
    record = json.loads((out / "records" / "image_0.json").read_text())
    assert record["boxes"][0]["low"] == 150
    assert (out / "yolo" / "data.yaml").exists()


def test_the_folder_of_an_export_stays_when_a_class_is_added(window: Window) -> None:
    panel = window.workplace.export
    before = panel.folder.text()
    assert before.endswith("-export")
    panel.folder.setText("/somewhere/else")
    window.controller.know_class("implant")
    assert "implant" in panel.summary.text() and panel.folder.text() == "/somewhere/else"


def test_an_export_into_a_foreign_folder_is_refused_in_one_line(window: Window) -> None:
    window.controller.accept()
    out = window.folder.parent / "foreign"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    panel = window.workplace.export
    panel.folder.setText(str(out))
    panel.start.click()
    window.wait(lambda: panel.result.text() and panel.start.isEnabled())
    assert "thesis.txt" in panel.result.text() and (out / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("key", ["Q", "W", "N"])
def test_letter_keys_reach_the_window_from_the_lists(window: Window, key: str) -> None:
    """A list would take letters as a search; here they are the keys of the job."""
    images = window.viewer.window.dock_widgets[IMAGES]
    before = window.session.entry
    QTest.keyClick(images.strip, getattr(Qt.Key, f"Key_{key}"))
    window.wait(lambda: window.session.entry is not None and window.session.position == 1)
    states = {"Q": State.ACCEPTED, "W": State.REJECTED, "N": State.NEW}
    entry = next(e for e in window.session.entries if e.id == before.id)
    assert entry.state is states[key]


def test_tools_follow_napari_and_lead_it(window: Window) -> None:
    tools = window.workplace.tools
    tools.tools[Tool.PAINT].click()
    layers = window.desk.layers
    window.wait(lambda: str(layers.mask.mode) == "paint")
    assert window.viewer.layers.selection.active is layers.mask
    layers.mask.mode = "erase"
    assert window.desk.tool is Tool.ERASE and tools.tools[Tool.ERASE].isChecked()
    tools.tools[Tool.DRAW].click()
    window.wait(lambda: str(layers.rois.mode) == "add_rectangle")


def test_a_press_on_the_cloud_finds_the_newest_box(window: Window) -> None:
    """The cloud is drawn last; a drag of what it still shows must not bring that back."""
    add_roi(window)
    cloud, controller = window.workplace.box.cloud, window.controller
    window.wait(lambda: [h.value for h in cloud.handles() if h.face == "low"] == [150])
    controller.set_range(120, 240)
    assert cloud._box is not None and cloud._box.gray.low == 150, "not drawn yet"
    cloud.pressed.emit()
    assert (cloud._box.gray.low, cloud._box.gray.high) == (120, 240)
    assert [h.value for h in cloud.handles() if h.face == "low"] == [120]


def test_refine_corrects_the_mask_and_undo_takes_it_back(window: Window) -> None:
    box, session = window.workplace.box, window.session
    window.wait(lambda: not box.refine.isEnabled())  # nothing to refine yet
    window.controller.detection._factory = lambda: Predictor(
        roi_detector=FakeRois(), box_detector=FakeBoxes(), refiner=Shifts(), auto_refine=False
    )
    add_roi(window)
    before = session.masks.map.copy()
    window.wait(box.refine.isEnabled)
    box.refine.click()
    window.wait(lambda: bool(session.annotation.residual) and session.job is None)
    np.testing.assert_array_equal(session.masks.map, np.roll(before, 1, axis=1))
    np.testing.assert_array_equal(window.desk.layers.mask.data, session.masks.map)
    window.workplace.tools.undo.click()
    window.wait(lambda: not session.annotation.residual)
    np.testing.assert_array_equal(session.masks.map, before)


def test_progress_and_cancel_are_shown(window: Window, qtbot: QtBot) -> None:
    tools = window.workplace.tools
    assert tools._progress.isHidden()
    tools.detect_all.click()
    assert not tools._progress.isHidden() and not tools.detect.isEnabled()
    window.wait(lambda: window.session.job is None)
    assert tools._progress.isHidden() and tools.detect.isEnabled()
    assert "3 images proposed" in window.workplace.message.text()


def test_nothing_to_see_before_a_folder_is_open(
    make_napari_viewer: Callable[..., object], qtbot: QtBot
) -> None:
    from napari_graydet.gui.workplace import open_workplace

    workplace = open_workplace(make_napari_viewer())
    assert not workplace.tools.detect.isEnabled() and not workplace.box.low.isEnabled()
    workplace.controller.accept()
    workplace.controller.detection.image()
    workplace.controller.detection.all()
    workplace.desk.layers.use(Tool.PAINT)
    workplace.controller.undo()
    workplace.desk.close()


def test_in_a_narrow_window_the_name_of_the_image_stays_legible(
    make_window: Callable[..., Window],
) -> None:
    window = make_window(show=True)
    images = window.viewer.window.dock_widgets[IMAGES]
    shown = images.name.fontMetrics().horizontalAdvance("image_0   1 / 3")
    assert images.name.text() == "image_0   1 / 3"
    for width, words in ((1600, True), (1280, False), (1600, True)):
        window.viewer.window.resize(width, 800)
        window.wait(lambda words=words: ("Previous" in images.previous.text()) is words)
        window.wait(lambda: images.name.width() >= shown)
        assert images.next.accessibleName() == "Next image"


def test_typing_one_end_of_a_bent_box_leaves_the_other(window: Window) -> None:
    """A fitted box may leave the scale, where the spin boxes end."""
    add_roi(window)
    box, session = window.workplace.box, window.session
    wide = GrayBox(session.roi.roi_box, np.array([[-40, 150], [150, 160]]), np.full((2, 2), 600.0))
    window.controller.set_box(wide)
    window.wait(lambda: box.high.value() == 255 and box.low.value() == 0)
    box.low.setValue(1)
    after = session.box.gray_box()
    np.testing.assert_array_equal(after.high, wide.high)
    np.testing.assert_array_equal(after.low, wide.low + 41)
    box.high.setValue(250)
    np.testing.assert_array_equal(session.box.gray_box().low, after.low)
    assert session.box.gray_box().gray.high == 250
