"""How long the window's event loop stands still during the main job.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python -m benchmarks.pauses

Opens a copy of the sample radiographs in the real window (or of other images: ``--images``), goes
from image to image, detects some, chooses each tool and page, undoes, accepts, then detects all of
them, and prints for each step the longest turns of the event loop, the action itself included;
writes benchmarks/results/pauses.json. The window promises pauses of at most 100 ms once it is
there; how long it takes to build and draw before, stands in a row of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from napari.viewer import Viewer
from qtpy import API_NAME
from qtpy.QtCore import QAbstractEventDispatcher, QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_graydet.gui import open_window
from napari_graydet.gui.control.session import Session
from napari_graydet.gui.desk import desk_of
from napari_graydet.gui.image.layers import Tool
from napari_graydet.gui.workplace import WORKPLACE

SAMPLES = Path(__file__).parents[1] / "sample_data" / "images"
RESULTS = Path(__file__).parent / "results" / "pauses.json"
TIMEOUT = 120.0
TOOLS = Tool.DRAW, Tool.PAINT, Tool.ERASE, Tool.SELECT


class Pulse:
    """Writes down how long each turn of the event loop takes.

    The dispatcher's "awake" comes once a turn, right after mouse and keys have been looked at: what
    lies between two is the time in which the window does not answer. A timer keeps the loop going.
    """

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.start()
        dispatcher = QAbstractEventDispatcher.instance()
        assert dispatcher is not None
        dispatcher.awake.connect(self._tick)
        self._acted = False

    def _tick(self) -> None:
        if self._acted:  # what answers a click is followed by its frame in the same turn
            self._acted = False
            return
        now = time.perf_counter()
        self.pauses.append(now - self._last)
        self._last = now

    def watch(
        self,
        step: str,
        act: Callable[[], object],
        done: Callable[[], bool],
        settle: float = 1.5,
    ) -> dict[str, object]:
        """Act, run the event loop until that is done, and on until it is drawn; print its pauses.

        The action itself counts, as it would in the handler of a click.
        """
        self.pauses.clear()
        begun = self._last = time.perf_counter()
        act()
        self._acted = True
        ended: float | None = None
        while ended is None or time.perf_counter() - ended < settle:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
            if ended is None and done():
                ended = time.perf_counter()
            if time.perf_counter() - begun > TIMEOUT:
                sys.exit(f"{step} did not end within {TIMEOUT:.0f} s")
        longest = [round(1000 * p) for p in sorted(self.pauses, reverse=True)[:4]]
        print(f"| {step} | {' | '.join(f'{pause} ms' for pause in longest)} |", flush=True)
        return {"step": step, "longest_ms": longest, "seconds": round(ended - begun, 2)}


def start_up(seconds: float) -> dict[str, object]:
    """Print what it costs to build the window: in one piece, before there is anything to use."""
    milliseconds = round(1000 * seconds)
    print(f"| build the window, before it can be used | {milliseconds} ms | | | |", flush=True)
    return {
        "step": "build the window, before it can be used",
        "longest_ms": [milliseconds],
        "seconds": round(seconds, 2),
    }


def by_hand(viewer: Viewer, pulse: Pulse) -> list[dict[str, object]]:
    """Choose each tool and each page for the first time, undo, redo, and accept."""
    desk, rows = desk_of(viewer), []
    controller, session = desk.controller, desk.session
    pages = viewer.window.dock_widgets[WORKPLACE].tabs
    steps: dict[str, Callable[[], object]] = {
        **{f"tool {tool.value}": partial(desk.layers.use, tool) for tool in TOOLS},
        **{f"page {pages.tabText(i)}": partial(pages.setCurrentIndex, i) for i in (1, 2, 3, 0)},
        "undo": controller.undo,
        "redo": controller.redo,
    }
    rows += [pulse.watch(step, act, lambda: True, settle=1.0) for step, act in steps.items()]
    return [*rows, pulse.watch("accept, next", controller.accept, moved_on(session))]


def moved_on(session: Session) -> Callable[[], bool]:
    """Return what tells that another image is shown than now."""
    before = session.position
    return lambda: session.position != before


def nothing() -> None:
    """Wait for what has begun."""


def main() -> None:
    """Print a Markdown table, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, default=SAMPLES, help="folder, 5 images or more")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        shutil.copytree(options.images, folder)
        began = time.perf_counter()
        viewer = open_window(folder)
        built = time.perf_counter() - began
        session, controller = desk_of(viewer).session, desk_of(viewer).controller
        pulse = Pulse()
        print("| step | longest pause | 2nd | 3rd | 4th |\n|---|---|---|---|---|")
        rows.append(start_up(built))
        rows.append(pulse.watch("open the folder", nothing, lambda: session.image is not None))
        detect, detected = controller.detection, lambda: session.job is None and bool(session.roi)
        for step in ("first detect", "detect", "detect again"):
            rows.append(pulse.watch(step, detect.image, detected))
            rows.append(pulse.watch("next image", controller.next, moved_on(session)))
        rows.append(pulse.watch("previous image", controller.previous, moved_on(session)))
        rows += by_hand(viewer, pulse)
        rows.append(pulse.watch("detect all", detect.all, lambda: session.job is None, settle=3.0))
        viewer.close()
    document = {
        "qt": API_NAME,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rows": rows,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
