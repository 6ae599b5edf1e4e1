"""Goes through images or opens panels again and again, and says what stays (see test_leaks.py).

    python -m tests.gui.leaks_child panels|images TIMES FOLDER REPORT

A process of its own: pytest-napari's stand-in for the application notes every call it gets.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import napari
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_graydet.gui import open_window
from napari_graydet.gui.desk import desk_of
from napari_graydet.gui.workplace import IMAGES, WORKPLACE, Workplace, open_workplace
from tests.gui.fakes import predictor

PATIENCE = 60.0
FIRST = {"panels": 3, "images": 6}
"""Rounds before the first look: what is made once, and kept."""

LOOKS = 50
"""Looks at what is held until two must have been the same."""

Held = tuple[Counter[str], Counter[str], float]
"""Our objects, all widgets, memory in MiB."""


class Window:
    """A window, and what a person does with it."""

    def __init__(self, folder: Path) -> None:
        self.viewer: napari.Viewer = open_window(folder)
        self.desk = desk_of(self.viewer)
        self.session = self.desk.session
        self.desk.controller.detection._factory = predictor
        self.wait(lambda: self.session.image is not None and self.desk.layers.complete)
        self.desk.controller.detection.image()
        self.wait(lambda: self.session.annotation is not None and self.session.annotation.boxes)

    @property
    def workplace(self) -> Workplace:
        workplace: Workplace = self.viewer.window.dock_widgets[WORKPLACE]
        return workplace

    def panels(self) -> None:
        """Close both docks as napari does, and open them as its menu does."""
        docked = self.viewer.window
        for name in (WORKPLACE, IMAGES):
            docked.remove_dock_widget(docked.dock_widgets[name])
        open_workplace(self.viewer)
        self.wait(lambda: self.workplace.box.cloud.isVisible())
        self.wait(lambda: self.workplace.box.cloud.handles())
        QTest.qWait(50)

    def images(self) -> None:
        """Show every image, and the first again."""
        entries = self.session.entries
        for entry in (*entries[1:], entries[0]):
            self.desk.controller.go_to(entry.id)
            self.wait(partial(self.shows, entry.id))
            QTest.qWait(10)

    def shows(self, image_id: int) -> bool:
        return self.session.image_id == image_id and self.session.job is None

    def wait(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            QTest.qWait(5)  # unlike `processEvents` it deletes what is to be deleted later

    def held(self) -> Held:
        """Return what is held once nothing changes any more."""
        looks = [self._look()]
        while len(looks) < 2 or looks[-1][:2] != looks[-2][:2]:
            assert len(looks) < LOOKS, "the window does not come to rest"
            QTest.qWait(300)
            looks.append(self._look())
        return looks[-1]

    def _look(self) -> Held:
        gc.unfreeze()
        gc.collect()
        kinds = (f"{kind.__module__}.{kind.__qualname__}" for kind in map(type, gc.get_objects()))
        ours = Counter(kind for kind in kinds if kind.startswith("napari_graydet."))
        widgets = Counter(type(widget).__name__ for widget in QApplication.allWidgets())
        return ours, widgets, memory()


def memory() -> float:
    """Return what this process holds in memory, MiB; 0 where /proc does not tell."""
    if not sys.platform.startswith("linux"):
        return 0.0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(what: str, times: str, folder: str, report: str) -> None:
    window = Window(Path(folder))
    one_round = getattr(window, what)
    for _ in range(FIRST[what]):
        one_round()
    before = window.held()
    for _ in range(int(times)):
        one_round()
    after = window.held()
    found: dict[str, Any] = {
        "objects": dict(after[0] - before[0]),
        "widgets": dict(after[1] - before[1]),
        "memory": after[2] - before[2],
    }
    Path(report).write_text(json.dumps(found))
    window.viewer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
