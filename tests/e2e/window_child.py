"""The two halves of the main job, each in a process of its own (see test_main_job.py).

    python -m tests.e2e.window_child work FOLDER REPORT       edits, reports, waits to be killed
    python -m tests.e2e.window_child again FOLDER REPORT OUT  reopens, reads, exports, closes

Nothing here calls the controller: everything is done with the mouse and the keyboard.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_graydet.gui import open_window
from napari_graydet.gui.image.layers import Tool
from tests.e2e.hands import Hands

CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def opened(folder: Path) -> Hands:
    hands = Hands(open_window(folder))
    hands.wait(lambda: hands.session.image is not None, "the first image")
    hands.wait(lambda: hands.desk.layers.complete, "its layers")
    hands.wait_idle()
    return hands


def detect(hands: Hands) -> None:
    hands.click(hands.workplace.tools.detect)
    hands.wait(lambda: hands.session.job is None, "the detection")
    annotation = hands.session.annotation
    assert annotation is not None and annotation.boxes, f"detected nothing: {hands.session.message}"
    assert all(box.source == "model" for box in annotation.boxes)
    QApplication.processEvents()


def drag_roi(hands: Hands) -> None:
    """Pull the lower right corner of the selected ROI inwards."""
    before = hands.session.roi
    assert before is not None
    x, y = before.x1, before.y1
    hands.drag((x, y), (x - before.roi_box.width / 6, y - before.roi_box.height / 8))
    hands.wait(lambda: hands.session.roi != before, "the ROI to follow the mouse")
    after, box = hands.session.roi, hands.session.box
    assert after is not None and box is not None
    moved = max(abs(after.x0 - before.x0), abs(after.y0 - before.y0))
    assert moved < 0.05, f"the other corner stays, it moved by {moved} pixels"
    assert after.x1 < before.x1 - 1 and after.y1 < before.y1 - 1
    assert (box.x0, box.y0, box.x1, box.y1) == (after.x0, after.y0, after.x1, after.y1)
    assert after.source == "human"


def drag_histogram(hands: Hands) -> None:
    """Move the lower threshold in the histogram; the mask follows before the release."""
    session, histogram = hands.session, hands.workplace.box.histogram
    before = session.box
    assert before is not None and session.masks is not None
    pixels = int((session.masks.map > 0).sum())
    previews: list[int] = []

    def look(_window: object) -> None:
        if session.preview is not None and session.masks is not None:
            previews.append(int((session.masks.map > 0).sum()))

    session.mask_changed.connect(look)
    low, high = (histogram.handle_position(part) for part in ("low", "high"))
    far = low.x() + 0.75 * (high.x() - low.x())  # into the mass, wherever the detector put it
    hands.drag_on(histogram, (low.x(), low.y()), (far, low.y()))
    hands.wait(lambda: session.box is not None and session.box.low != before.low, "the threshold")
    assert any(count != pixels for count in previews), "the mask follows before the release"
    assert hands.workplace.box.low.value() == session.box.low


def drag_in_cloud(hands: Hands) -> None:
    """Move the top of the box by its handle in the 3D canvas."""
    session, cloud = hands.session, hands.workplace.box.cloud
    before = session.box
    assert before is not None
    hands.wait(
        lambda: before.low in [h.value for h in cloud.handles() if h.face == "low"],
        "the cloud to show the new threshold",
    )
    handle = next(h for h in cloud.handles() if h.face == "high" and h.knot is None)
    x, y = cloud.projection().to_canvas([handle.at])[0]
    room = 25 if y < cloud.canvas.height() / 2 else -25
    hands.drag_on(cloud.canvas, (float(x), float(y)), (float(x), float(y) + room))
    hands.wait(lambda: session.box is not None and session.box.high != before.high, "the top")
    assert session.box is not None and session.box.low == before.low
    assert hands.workplace.box.high.value() == session.box.high


def paint(hands: Hands) -> None:
    """Paint in a corner of the image, where no ROI is."""
    annotation = hands.session.annotation
    hands.click(hands.workplace.tools.tools[Tool.PAINT])
    hands.drag((20, 20), (60, 30))
    hands.wait(lambda: hands.session.annotation is not annotation, "the painting")
    record = hands.session.annotation
    assert record is not None and record.residual[hands.session.label].added


def undo_redo(hands: Hands) -> None:
    painted = hands.session.annotation
    assert painted is not None
    hands.press(Qt.Key.Key_Z, CTRL)
    assert hands.session.annotation is not None and not hands.session.annotation.residual
    hands.press(Qt.Key.Key_Z, CTRL, SHIFT)
    assert hands.session.annotation == painted
    hands.click(hands.workplace.tools.tools[Tool.SELECT])


def accept_and_go_on(hands: Hands) -> None:
    first = hands.session.image_id
    hands.press(Qt.Key.Key_Q)
    hands.wait(lambda: hands.session.image_id != first, "the next image")
    assert hands.session.accepted == 1
    second = hands.session.image_id
    hands.press(Qt.Key.Key_N)
    hands.wait(lambda: hands.session.image_id != second, "the image after it")
    hands.press(Qt.Key.Key_N, SHIFT)
    hands.wait(lambda: hands.session.image_id == second, "the previous image")


def draw_roi(hands: Hands) -> None:
    """Draw an ROI by hand on the second image."""
    hands.press(Qt.Key.Key_K)
    assert hands.desk.tool is Tool.DRAW
    image = hands.session.image
    assert image is not None
    hands.drag((image.width * 0.3, image.height * 0.3), (image.width * 0.6, image.height * 0.7))
    hands.wait(lambda: hands.session.roi is not None, "the drawn ROI")
    hands.wait_idle()
    hands.wait(lambda: hands.session.box is not None, "its 3D box")


def work(folder: Path, report: Path) -> None:
    hands = opened(folder)
    first = hands.session.image_id
    detect(hands)
    drag_roi(hands)
    drag_histogram(hands)
    drag_in_cloud(hands)
    paint(hands)
    undo_redo(hands)
    kept = {str(first): hands.session.annotation}
    accept_and_go_on(hands)
    draw_roi(hands)
    kept[str(hands.session.image_id)] = hands.session.annotation
    assert not hands.session.unsaved
    write(report, {key: record.model_dump(mode="json") for key, record in kept.items() if record})
    while True:  # until the test kills this process
        QApplication.processEvents()
        time.sleep(0.01)


def again(folder: Path, report: Path, out: Path) -> None:
    hands = opened(folder)
    found = {}
    strip, model = hands.images.strip, hands.images.model
    for entry in hands.session.entries[:2]:
        index = model.index(model.row_of(entry.id))
        strip.setCurrentIndex(index)
        hands.wait(lambda e=entry: hands.session.image_id == e.id, "the image of the strip")
        assert hands.session.annotation is not None
        found[str(entry.id)] = hands.session.annotation.model_dump(mode="json")
    assert hands.session.can_undo, "the history survives"
    panel = hands.workplace.export
    hands.workplace.tabs.setCurrentWidget(panel)
    panel.folder.setText(str(out))
    hands.click(panel.start)
    hands.wait(lambda: panel.result.text(), "the export")
    hands.wait(panel.start.isEnabled, "the end of the export")
    write(report, {"records": found, "said": panel.result.text()})
    hands.viewer.close()


def write(report: Path, data: dict[str, Any]) -> None:
    part = report.with_suffix(".part")
    part.write_text(json.dumps(data))
    part.replace(report)


if __name__ == "__main__":
    step, *places = sys.argv[1:]
    {"work": work, "again": again}[step](*map(Path, places))
