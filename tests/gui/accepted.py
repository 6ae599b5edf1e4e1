"""A project of accepted images for the panels Train and Evaluate, and hands at the panels."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QTableView

from napari_graydet.gui.workplace import Workplace
from napari_graydet.project.schema import Annotation, BoxRecord, RoiRecord, State
from napari_graydet.project.store import ProjectStore
from tests.gui.conftest import Window
from tests.gui.fakes import BRIGHT, SHAPE, make_folder
from tests.gui.training_child import COMMAND

LEFT = Qt.MouseButton.LeftButton


def make_study(folder: Path, count: int = 7, accepted: int = 6) -> Path:
    """Make a project whose first images are accepted: the bright square is a bone."""
    make_folder(folder, count)
    with ProjectStore.open_or_create(folder) as store:
        store.add_class("bone")
        extent = dict(zip(("x0", "y0", "x1", "y1"), BRIGHT.xyxy, strict=True))
        for entry in store.entries()[:accepted]:
            roi = RoiRecord(label="bone", **extent)
            box = BoxRecord(roi_id=roi.id, low=150, high=255, label="bone", **extent)
            record = Annotation(
                width=SHAPE[1], height=SHAPE[0], state=State.ACCEPTED, rois=(roi,), boxes=(box,)
            )
            store.save(entry.id, record, expected_revision=0, source="human", action="accept")
    return folder


def open_study(window: Window, name: str = "bones", **how: int) -> Workplace:
    """Open such a project in a window whose trainings and evaluations need no network."""
    folder = make_study(window.folder.parent / name, **how)
    window.desk.training.command = window.desk.evaluation.command = COMMAND
    window.controller.open_folder(folder)
    window.wait(lambda: window.session.folder == folder and window.session.image is not None)
    window.wait(lambda: window.desk.training.models.folder == folder)
    window.wait_idle()
    return window.workplace


def click(button: QAbstractButton) -> None:
    """Click with the mouse, as far as a person could."""
    assert button.isVisible() and button.isEnabled(), f"{button.text()} cannot be clicked"
    QTest.mouseClick(button, LEFT)


def click_row(table: QTableView, row: int, column: int = 0) -> None:
    """Click a cell with the mouse."""
    model, port = table.model(), table.viewport()
    assert model is not None and port is not None
    QTest.mouseClick(port, LEFT, pos=table.visualRect(model.index(row, column)).center())


def click_heading(table: QTableView, column: int) -> None:
    """Click a heading with the mouse."""
    header = table.horizontalHeader()
    assert header is not None
    port = header.viewport()
    assert port is not None
    at = QPoint(header.sectionViewportPosition(column) + 10, header.height() // 2)
    QTest.mouseClick(port, LEFT, pos=at)
