"""How long the window's event loop stands still during the main job.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python -m benchmarks.pauses

Opens a copy of the sample radiographs in the real window, goes from image to image, detects some,
then all of them, and prints for each step the longest pauses between two ticks of a 2 ms timer;
writes benchmarks/results/pauses.json. The window promises pauses of at most 100 ms once it is
there; how long it takes to build and draw before, stands in a row of its own.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qtpy import API_NAME
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_graydet.gui import open_window
from napari_graydet.gui.desk import desk_of

SAMPLES = Path(__file__).parents[1] / "sample_data" / "images"
RESULTS = Path(__file__).parent / "results" / "pauses.json"
TIMEOUT = 120.0


class Pulse:
    """A timer that writes down the pauses between its ticks."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.pauses.append(now - self._last)
        self._last = now

    def watch(self, step: str, done: Callable[[], bool], settle: float = 1.5) -> dict[str, object]:
        """Run the event loop until a step is done, and on until it is drawn; print its pauses."""
        self.pauses.clear()
        begun = self._last = time.perf_counter()
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


def main() -> None:
    """Print a Markdown table, and write it."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        shutil.copytree(SAMPLES, folder)
        began = time.perf_counter()
        viewer = open_window(folder)
        built = time.perf_counter() - began
        session, controller = desk_of(viewer).session, desk_of(viewer).controller
        pulse = Pulse()
        print("| step | longest pause | 2nd | 3rd | 4th |\n|---|---|---|---|---|")
        rows.append(start_up(built))
        rows.append(pulse.watch("open the folder", lambda: session.image is not None))
        for step in ("first detect", "detect", "detect again"):
            controller.detection.image()
            rows.append(pulse.watch(step, lambda: session.job is None and session.roi is not None))
            before = session.position
            controller.next()
            rows.append(pulse.watch("next image", lambda was=before: session.position != was))
        controller.detection.all()
        rows.append(pulse.watch("detect all", lambda: session.job is None, settle=3.0))
        viewer.close()
    document = {
        "qt": API_NAME,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rows": rows,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
