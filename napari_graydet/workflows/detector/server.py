"""The child's side of `detector_process`: loads the detectors and answers until nobody asks.

python -P -m napari_graydet.workflows.detector.server '{"device": "auto"}'
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import BinaryIO

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GraydetError
from napari_graydet.workflows.detector.messages import (
    Message,
    box_message,
    box_of,
    error_message,
    message_bytes,
    read_message,
    residual_message,
    roi_message,
    roi_of,
)
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.refine import Refines

_PACKAGE = str(Path(__file__).parents[2])


def serve(predictor: Predictor, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until their stream ends, then end the process at once.

    The detectors are loaded before the first request; what fails then fails again, and is told,
    when it is asked for. A thread reads the requests, so that the end is noticed in the middle of
    a detection, too: a killed window leaves nobody behind.
    """
    waiting: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, waiting), daemon=True).start()
    server = _Server(predictor)
    server.load()
    while True:
        message = waiting.get()
        if "image" in message:
            server.image = message["image"]
            continue
        answers.write(message_bytes(server.answer(message)))
        answers.flush()


def _read(requests: BinaryIO, waiting: queue.SimpleQueue[Message]) -> None:
    while (message := read_message(requests)) is not None:
        waiting.put(message)
    os._exit(0)  # nothing here is worth saving, and torch may be anywhere


class _Server:
    """Answers one request after the other, about the image that was sent last."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.image: GrayImage | None = None

    def load(self) -> None:
        """Load the detectors, and the refiner if there is one, ahead of the first request."""
        for which in ("roi", "box", "refiner"):
            self.answer({"ask": "describe", "which": which})

    def answer(self, message: Message) -> Message:
        """Return the answer to a request, or its error: the boundary of this process."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                answer = self._answer(message)
            except Exception as error:  # noqa: BLE001  # the window is told
                answer = error_message(error)
        ours = [str(w.message) for w in caught if w.filename.startswith(_PACKAGE)]
        return answer | {"notices": ours}

    def _answer(self, message: Message) -> Message:
        if message["ask"] == "describe":
            return self._describe(message["which"])
        if self.image is None:
            raise GraydetError("Expected an image before the first detection.")
        if message["ask"] == "rois":
            rois = self._predictor.rois(self.image, min_score=message["min_score"])
            return {"found": [roi_message(roi) for roi in rois]}
        if message["ask"] == "missed":
            rois, doubtful = ([roi_of(roi) for roi in message[k]] for k in ("rois", "doubtful"))
            missed = self._refiner.missed(self.image, rois, doubtful)
            return {"found": [roi_message(roi) for roi in missed]}
        if message["ask"] == "refine":
            return {"found": self._refine(self.image, message)}
        boxes = self._predictor.boxes(
            self.image,
            RoiBox(*message["roi"]),
            message["label"],
            alternatives=message["alternatives"],
        )
        return {"found": [box_message(box) for box in boxes]}

    def _describe(self, which: str) -> Message:
        if which == "refiner":
            return {"name": self._refiner.name} if self._predictor.refiner else {}
        predictor = self._predictor
        detector = predictor.roi_detector if which == "roi" else predictor.box_detector
        return {"name": detector.name, "labels": list(detector.labels)}

    def _refine(self, image: GrayImage, message: Message) -> Message:
        """Return the residuals on top of the plain boxes: the window knows of clean-up."""
        found = self._refiner.refine(image, [box_of(box) for box in message["boxes"]])
        return {label: residual_message(residual) for label, residual in found.items()}

    @property
    def _refiner(self) -> Refines:
        refiner = self._predictor.refiner
        if refiner is None:
            raise GraydetError("This process was started without a refiner.")
        return refiner


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for messages; what libraries print goes to the errors."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return requests, answers


def main() -> None:
    """Serve the models of the command line over standard input and output."""
    requests, answers = own_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the window
    predictor = Predictor(**json.loads(sys.argv[1]), notice=_notice)
    serve(predictor, requests, answers)


def _notice(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=1)


if __name__ == "__main__":
    main()
