"""Panel Evaluate, driven by the mouse; the evaluation is the real one, with known detectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_graydet.gui.control.evaluation import ALL, VALIDATION
from napari_graydet.gui.control.scored import EXTRA, HIT, MISSED
from napari_graydet.gui.image.layers import Tool
from napari_graydet.gui.panels.evaluate import DSC, FP, EvaluatePanel
from napari_graydet.gui.panels.table import Column, TableModel
from napari_graydet.project.model_entry import SplitNote
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.project.schema import State
from napari_graydet.workflows import command_process
from tests.gui.accepted import click, click_heading, click_row, make_study, open_study
from tests.gui.conftest import Window
from tests.gui.fakes import BRIGHT

pytestmark = pytest.mark.gui


@pytest.fixture
def window(make_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch) -> Window:
    monkeypatch.setattr(command_process, "NICE", 0)  # the machines of tests have other work, too
    made = make_window(True)
    made.workplace.tabs.setCurrentWidget(made.workplace.evaluate)
    return made


def evaluated(window: Window) -> EvaluatePanel:
    panel: EvaluatePanel = open_study(window).evaluate
    click(panel.start)
    assert panel.stop.isVisible() and not panel.start.isEnabled()
    window.wait(lambda: not panel.evaluation.running)
    return panel


def ground(panel: EvaluatePanel, row: int) -> int:
    """Return how light a row of the table is beside its text, 0..255."""
    place = panel.table.visualRect(panel.table.rows.index(row, 0))
    picture = panel.table.viewport().grab().toImage()
    return int(picture.pixelColor(place.right() - 2, place.top() + 2).lightness())


def test_the_table_is_worst_first_sorts_and_opens_images(window: Window) -> None:
    assert "accept images" in window.workplace.evaluate.summary.text()
    panel = evaluated(window)
    scored = panel.evaluation.scored
    assert scored is not None and panel.table.isVisible()
    rows = panel.table.rows
    assert rows.rowCount() == 6
    assert "mean DSC 0.562, IoU 0.391" in panel.summary.text()  # 900 of 2304 pixels
    shown = [float(rows.data(rows.index(row, DSC))) for row in range(6)]
    assert shown == sorted(shown)
    assert "Most is lost by the" in panel.summary.text()
    assert abs(ground(panel, 0) - ground(panel, 1)) < 60, "white text is read on both"
    click_heading(panel.table, 0)
    names = [rows.key(row)[0] for row in range(6)]
    assert names in (sorted(names), sorted(names, reverse=True))
    click_heading(panel.table, FP)
    colors = panel.legend.colors
    assert colors.heightForWidth(colors.width()) <= colors.height(), "nothing is cut off"
    heads = panel.table.horizontalHeader()
    assert heads.sortIndicatorOrder() == Qt.SortOrder.DescendingOrder, "worst first here, too"
    click_heading(panel.table, DSC)
    assert heads.sortIndicatorOrder() == Qt.SortOrder.AscendingOrder

    click_row(panel.table, 4)
    wanted = rows.key(4)[0]
    window.wait(lambda: window.session.entry.path == wanted and window.desk.errors.map is not None)
    errors = window.desk.errors.map
    truth = np.zeros(errors.shape, bool)
    truth[BRIGHT.slices(errors.shape)] = True
    assert ((errors == HIT) == truth).all() and (errors == EXTRA).any()
    assert not (errors == MISSED).any()
    layer = window.desk.overlay._layer
    assert layer in window.viewer.layers and not window.desk.layers.mask.visible
    click(panel.legend.visible)
    assert layer not in window.viewer.layers and window.desk.layers.mask.visible
    click(panel.legend.visible)
    assert window.desk.overlay._layer in window.viewer.layers
    window.workplace.tabs.setCurrentIndex(0)
    assert window.desk.overlay._layer is None and window.desk.layers.mask.visible
    assert len(window.viewer.layers) == 3 and window.desk.layers.complete


def test_images_accepted_just_as_proposed_are_told_of(window: Window) -> None:
    panel = evaluated(window)
    assert "just as this model draws" not in panel.hint.text()
    scored = panel.evaluation.scored
    rows = [row | {"dice": 1.0} if row["image"] < "image_2" else row for row in scored.rows]
    panel.evaluation.scored = replace(scored, document=scored.document | {"rows": rows})
    panel.evaluation.changed.emit()
    assert "2 images were accepted just as this model draws them" in panel.hint.text()


def test_errors_follow_the_image_and_the_record(window: Window) -> None:
    panel = evaluated(window)
    errors, entries = window.desk.errors, window.session.entries
    click_row(panel.table, panel.table.rows.row_of(("image_4.png", "bone")))
    window.wait(lambda: errors.map is not None)
    window.controller.next()
    window.wait(lambda: window.session.entry is entries[5] and errors.map is not None)
    assert not window.desk.layers.mask.visible and panel.legend.visible.isChecked()
    window.controller.next()
    window.wait(lambda: window.session.entry is entries[6])
    window.wait_idle()
    assert errors.map is None and window.desk.layers.mask.visible, "it was not scored"
    assert window.session.accepted == 6

    window.controller.previous()
    window.wait(lambda: window.desk.errors.map is not None)
    layer = window.desk.overlay._layer
    assert (layer.data == HIT).any()
    assert "changed since" not in panel.hint.text()
    window.controller.delete_rois([roi.id for roi in window.session.annotation.rois])
    assert "1 image was changed since: evaluate again" in panel.hint.text()
    window.wait(lambda: not (window.desk.errors.map == HIT).any())
    assert (layer.data == EXTRA).any() and layer in window.viewer.layers
    window.controller.undo()
    window.wait(lambda: (window.desk.errors.map == HIT).any())


def test_whoever_paints_sees_the_mask_and_not_the_errors(window: Window) -> None:
    panel = evaluated(window)
    click_row(panel.table, 0)
    window.wait(lambda: window.desk.errors.map is not None)
    layers = window.desk.layers
    QTest.keyClick(window.viewer.window._qt_viewer.canvas.native, Qt.Key.Key_U)
    window.wait(lambda: layers.tool is Tool.PAINT and layers.mask.mode == "paint")
    assert window.desk.errors.map is None and layers.mask.visible
    assert window.viewer.layers.selection.active is layers.mask


def test_errors_go_with_the_table_they_belong_to(window: Window) -> None:
    panel = evaluated(window)
    first, errors = panel.evaluation.scored, window.desk.errors
    click(panel.start)
    click_row(panel.table, 0)  # of the old table, while the new one is made
    window.wait(lambda: errors.map is not None)
    window.wait(lambda: not panel.evaluation.running)
    assert panel.evaluation.scored is not first
    assert errors.map is None and window.desk.overlay._layer is None
    window.controller.next()
    window.controller.previous()
    window.wait_idle()
    assert window.session.message is None, "no mask that was deleted is looked for"

    click_row(panel.table, 1)
    window.wait(lambda: errors.map is not None)
    open_study(window, "other")  # with images of the same names
    panel.evaluation.changed.emit()
    window.qtbot.wait(200)
    assert errors.map is None and window.session.message is None


def test_held_out_images_are_chosen_first_in_a_trained_project(window: Window) -> None:
    panel = window.workplace.evaluate
    trained = make_study(window.folder.parent / "trained")
    registry = ModelRegistry(trained)
    entry = registry.begin(["boxes"], preset="fast", seed=0, request={}, versions={})
    note = SplitNote(seed=0, train=("image_0.png",), validation=("image_1.png",))
    registry.end(entry.model_copy(update={"split": note}), "failed")
    assert panel.side.currentData() == ALL and not panel.side.isEnabled()
    window.controller.open_folder(trained)
    window.wait(panel.side.isEnabled)
    assert panel.side.currentData() == VALIDATION
    panel.side.setCurrentIndex(panel.side.findData(ALL))
    window.session.entries_changed.emit()
    window.desk.training.models_changed.emit()
    assert panel.side.currentData() == ALL, "a person's choice stays"
    open_study(window, "untrained")
    assert panel.side.currentData() == ALL
    window.controller.open_folder(trained)
    window.wait(panel.side.isEnabled)
    assert panel.side.currentData() == VALIDATION


def test_stopped_and_broken_evaluations_leave_the_table(window: Window) -> None:
    panel = evaluated(window)
    first = panel.evaluation.scored
    assert window.session.folder is not None
    (window.session.folder / "refuse.txt").touch()
    click(panel.start)
    window.wait(lambda: not panel.evaluation.running)
    assert "killed (signal 6)" in panel.summary.text() and "\n" not in panel.summary.text()
    (window.session.folder / "refuse.txt").unlink()
    (window.session.folder / "slow.txt").touch()
    click(panel.start)
    click(panel.stop)
    window.wait(lambda: not panel.evaluation.running)
    assert panel.evaluation.scored is first and panel.table.isVisible()
    assert all(e.state is not State.IN_WORK for e in window.session.entries)


def test_what_could_not_be_scored_comes_first_however_the_table_is_sorted() -> None:
    model = TableModel((Column("Image"), Column("DSC"), Column("Problem", leads=True)))
    rows = [("a", ["a", 0.9, ""]), ("b", ["b", None, "gone"]), ("c", ["c", None, ""])]
    model.fill([*rows, ("d", ["d", 0.2, ""])])
    for order, expected in (
        (Qt.SortOrder.AscendingOrder, "bdac"),
        (Qt.SortOrder.DescendingOrder, "badc"),
    ):
        model.sort(1, order)
        assert "".join(model.key(row) for row in range(4)) == expected
