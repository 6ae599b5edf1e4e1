"""How long the window's event loop stands still during the main job.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python -m benchmarks.pauses

Opens a copy of the sample radiographs in the real window, goes from image to image, detects some,
then all of them, and prints for each step the longest pauses between two ticks of a 2 ms timer.
The window promises pauses of at most 100 ms.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_graydet.gui import open_window
from napari_graydet.gui.desk import desk_of

SAMPLES = Path(__file__).parents[1] / "sample_data" / "images"
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

    def watch(self, step: str, done: Callable[[], bool], settle: float = 1.5) -> None:
        """Run the event loop until a step is done and drawn; print its longest pauses."""
        self.pauses.clear()
        begun = self._last = time.perf_counter()
        while not done() or time.perf_counter() - begun < settle:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
            if time.perf_counter() - begun > TIMEOUT:
                sys.exit(f"{step} did not end within {TIMEOUT:.0f} s")
        longest = sorted(self.pauses, reverse=True)[:4]
        print(f"| {step} | {' | '.join(f'{1000 * pause:.0f} ms' for pause in longest)} |")


def main() -> None:
    """Print a Markdown table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        shutil.copytree(SAMPLES, folder)
        viewer = open_window(folder)
        session, controller = desk_of(viewer).session, desk_of(viewer).controller
        pulse = Pulse()
        print("| step | longest pause | 2nd | 3rd | 4th |\n|---|---|---|---|---|")
        pulse.watch("open the folder", lambda: session.image is not None)
        for step in ("detect, loading torch", "detect", "detect again"):
            controller.detection.image()
            pulse.watch(step, lambda: session.job is None and session.roi is not None)
            before = session.position
            controller.next()
            pulse.watch("next image", lambda before=before: session.position != before)
        controller.detection.all()
        pulse.watch("detect all", lambda: session.job is None, settle=3.0)
        viewer.close()


if __name__ == "__main__":
    main()
