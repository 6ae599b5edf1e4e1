"""Detectors in a process of their own, for programs with a window.

Importing torch holds Python's lock for long stretches, and a crash in a native library would take
the window along (docs/decisions/0010). The process is started when it is first needed, or earlier
by `start`; when it has died, the next detection starts another.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Mask, Residual, box_mask
from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.workflows.command_process import child_environment, lower_priority, window_flags
from napari_graydet.workflows.detector.messages import (
    Message,
    box_message,
    box_of,
    error_of,
    image_bytes,
    message_bytes,
    read_message,
    residual_of,
    roi_message,
    roi_of,
)
from napari_graydet.workflows.events import ShouldCancel, never_cancel
from napari_graydet.workflows.predict import Prediction, Predictor

SERVER = "napari_graydet.workflows.detector.server"

GRACE_SECONDS = 0.4
"""How long a detection that should stop may take to end by itself; then its process is killed."""

_POLL_SECONDS = 0.05
_LAST_SECONDS = 2.0


@dataclass(frozen=True)
class DetectorSettings:
    """What a process has: weights files or model names, and the device.

    None stands for the shipped detectors, and for no refiner.
    """

    roi_source: str | None = None
    box_source: str | None = None
    refiner_source: str | None = None
    device: str = "auto"
    auto_refine: bool = True


class DetectorProcess:
    """The window's side of a detector process; thread-safe, one question at a time.

    Parameters
    ----------
    settings
        What the process loads; kept as an attribute.
    command
        Program and arguments instead of our own server (for tests).
    """

    def __init__(self, settings: DetectorSettings, *, command: Sequence[str] | None = None) -> None:
        # -P: the working folder may hold anything, and none of it is to be imported.
        self._command = command or (
            sys.executable, "-P", "-m", SERVER, json.dumps(asdict(settings)),
        )  # fmt: skip
        self.settings = settings
        self._asking = threading.Lock()
        self._starting = threading.Lock()
        self._child: _Child | None = None
        self._sent: GrayImage | None = None
        self._notices: list[str] = []
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Number of the running process, None if there is none."""
        child = self._child
        return child.pid if child is not None and child.is_running else None

    def start(self) -> None:
        """Start the process, unless it runs; it loads the detectors and returns at once.

        Raises
        ------
        CancelledError
            If it was closed.
        ModelError
            If the system refuses.
        """
        with self._starting:
            if self._closed:
                raise CancelledError("Stopped: the window was closed.")
            if self._child is None or not self._child.is_running:
                self._sent = None
                self._child = _Child(self._command)

    def ask(
        self, message: Message, image: GrayImage | None, should_cancel: ShouldCancel = never_cancel
    ) -> Message:
        """Put a question, about an image where one is given, and wait for the answer.

        Raises
        ------
        GraydetError
            As the detectors raise it.
        CancelledError
            If it was to be cancelled, or the process was closed.
        ChildProcessError
            If the process ended before it had answered.
        """
        with self._asking:
            self.start()
            child = self._child
            assert child is not None  # started
            if image is not None and image is not self._sent:
                child.send(image_bytes(image))
                self._sent = image
            child.send(message_bytes(message))
            answer = self._wait(child, should_cancel)
            self._notices += answer.pop("notices", [])
        if "error" in answer:
            raise error_of(answer)
        return answer

    def _wait(self, child: _Child, should_cancel: ShouldCancel) -> Message:
        stop_at: float | None = None
        while True:
            with suppress(queue.Empty):
                answer = child.answers.get(timeout=_POLL_SECONDS)
                if answer is not None:
                    return answer
                if self._closed:
                    raise CancelledError("Stopped: the window was closed.")
                raise ChildProcessError(child.obituary())
            if should_cancel():
                stop_at = stop_at or time.monotonic() + GRACE_SECONDS
                if time.monotonic() >= stop_at:
                    child.kill()
                    raise CancelledError("Stopped.")

    def take_notices(self) -> tuple[str, ...]:
        """Return what the user should know since the last call."""
        notices, self._notices = tuple(dict.fromkeys(self._notices)), []
        return notices

    def close(self) -> None:
        """End the process at once and for good; a question that waits is told so."""
        with self._starting:
            self._closed = True
            if self._child is not None:
                self._child.kill()


class _Child:
    """One running server, and the two threads that serve its pipes.

    Threads, because pipes cannot be waited for with a time limit on Windows, and because a server
    that hangs takes no more than a pipe holds: nobody else may wait for it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        environment = child_environment()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                **window_flags(),
            )
        except OSError as error:
            raise ModelError(
                f"The detectors' process could not be started: {error.strerror}."
            ) from error
        lower_priority(self._process.pid)  # from outside: its imports are what costs most
        self.answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for work in (self._write, self._read):
            threading.Thread(target=work, name="detector process", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, data: bytes) -> None:
        self._requests.put(data)

    def kill(self) -> None:
        """End it and let the system forget it."""
        self._process.kill()
        self._process.wait()

    def obituary(self) -> str:
        """Say how it ended."""
        code = self._process.wait()
        how = f"ended with status {code}"
        if code < 0:
            with suppress(ValueError):
                how = f"was ended by {signal.Signals(-code).name}"
        return f"The detectors' process {how}; nothing is lost, detect again to restart it."

    def _write(self) -> None:
        requests = self._process.stdin
        assert requests is not None  # a pipe
        with suppress(OSError), requests:  # it has died; the reader tells
            while (data := self._requests.get()) is not None:
                requests.write(data)
                requests.flush()

    def _read(self) -> None:
        answers = self._process.stdout
        assert answers is not None  # a pipe
        with answers, suppress(ValueError, OSError):  # died in the middle of a line
            while (message := read_message(answers)) is not None:
                self.answers.put(message)
        with suppress(subprocess.TimeoutExpired):  # how it ends by itself says more
            self._process.wait(_LAST_SECONDS)
        self._process.kill()  # what closes its pipe, or talks nonsense, is of no use any more
        self._process.wait()
        self._requests.put(None)
        self.answers.put(None)


class _Remote:
    """A detector of the other process: asked for its name and classes when they are wanted."""

    which: str

    def __init__(self, process: DetectorProcess, should_cancel: ShouldCancel) -> None:
        self._process = process
        self._should_cancel = should_cancel
        self._described: Message | None = None

    def _describe(self) -> Message:
        if self._described is None:
            self._described = self._ask({"ask": "describe", "which": self.which}, None)
        return self._described

    def _ask(self, message: Message, image: GrayImage | None) -> Message:
        return self._process.ask(message, image, self._should_cancel)

    @property
    def name(self) -> str:
        """Name of the model, for the record."""
        return str(self._describe()["name"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it knows."""
        return tuple(self._describe()["labels"])


class _RemoteRois(_Remote):
    which = "roi"

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        """Return the ROIs of an image, best first."""
        answer = self._ask({"ask": "rois", "min_score": min_score}, image)
        return [roi_of(found) for found in answer["found"]]


class _RemoteBoxes(_Remote):
    which = "box"

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Return the boxes of an ROI, best first."""
        question = {"ask": "boxes", "roi": roi.xyxy, "label": label, "alternatives": alternatives}
        return [box_of(found) for found in self._ask(question, image)["found"]]


class _RemoteRefiner(_Remote):
    which = "refiner"

    def refine(
        self,
        image: GrayImage,
        boxes: Sequence[BoxProposal],
        bases: Mapping[str, Mask] | None = None,
    ) -> dict[str, Residual]:
        """Return by label what to add to and erase from `bases`, or else the boxes' masks."""
        answer = self._ask({"ask": "refine", "boxes": [box_message(b) for b in boxes]}, image)
        found = {label: residual_of(runs) for label, runs in answer["found"].items()}
        if bases is None:
            return found
        return {
            label: Residual.between(bases[label], residual.apply(_plain(image, boxes, label)))
            for label, residual in found.items()
        }

    def missed(
        self,
        image: GrayImage,
        rois: Sequence[RoiProposal],
        doubtful: Sequence[RoiProposal] = (),
    ) -> list[RoiProposal]:
        """Return ROIs of parts that it sees, but that are in none of those detected."""
        given = {"rois": rois, "doubtful": doubtful}
        lists = {name: [roi_message(roi) for roi in of] for name, of in given.items()}
        answer = self._ask({"ask": "missed", **lists}, image)
        return [roi_of(found) for found in answer["found"]]


def _plain(image: GrayImage, boxes: Sequence[BoxProposal], label: str) -> Mask:
    return box_mask(image.pixels, [b.box for b in boxes if b.label == label])


class ProcessPredictor(Predictor):
    """A predictor whose detectors are in a process of their own.

    Its calls wait for the other process, without Python's lock; make them in a worker.

    Parameters
    ----------
    process
        Where the detectors are.
    should_cancel
        Asked while a call waits; once it says so, the call ends within a second.
    """

    def __init__(
        self, process: DetectorProcess, should_cancel: ShouldCancel = never_cancel
    ) -> None:
        super().__init__(
            roi_detector=_RemoteRois(process, should_cancel),
            box_detector=_RemoteBoxes(process, should_cancel),
            refiner=_RemoteRefiner(process, should_cancel)
            if process.settings.refiner_source is not None
            else None,
            auto_refine=process.settings.auto_refine,
        )
        self._process = process

    def for_job(self, should_cancel: ShouldCancel) -> ProcessPredictor:
        """Return a predictor whose calls end when `should_cancel` says so."""
        return ProcessPredictor(self._process, should_cancel)

    def warm_up(self) -> None:
        """Let the process load its detectors."""
        self._process.start()

    def predict(self, image: GrayImage, *, min_score: float | None = None) -> Prediction:
        """Return the proposal for an image with its notices, the process's among them."""
        self._process.take_notices()  # of questions that nobody reported
        found = super().predict(image, min_score=min_score)
        notices = (*found.notices, *self._process.take_notices())
        return replace(found, notices=notices)
