"""A detector process with detectors that need no weights: `COMMAND` starts it."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.errors import WeightsError
from napari_graydet.workflows import predict
from napari_graydet.workflows.detector.server import own_streams, serve
from napari_graydet.workflows.predict import Predictor
from tests.workflows.fakes import BrightHalf, FakeRois, Shifts, proposal

ROOT = Path(__file__).parents[2]
COMMAND = (
    sys.executable, "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r});"
    "from tests.workflows.detector_child import main; main()",
)  # fmt: skip
FOUND = [proposal(2, 3, 20, 30), proposal(25.125, 5, 55, 39, "lung", 0.1 + 0.2)]


class Actor(FakeRois):
    """Does what the image's name says."""

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        print("a library talks on standard output", flush=True)
        if image.name == "crash.png":
            os.abort()
        if image.name == "sleep.png":
            time.sleep(60)
        if image.name == "weights.png":
            raise WeightsError("These weights are damaged; choose others.")
        if image.name == "memory.png":
            raise MemoryError("no room for 3 GB")
        if image.name == "notice.png":
            message = "Out of memory on cuda; going on on the CPU, which is slower."
            warnings.warn_explicit(message, RuntimeWarning, predict.__file__, 1)
            warnings.warn("somebody else's", UserWarning, stacklevel=1)
        return super().detect(image, min_score=min_score)


def main() -> None:
    actor, refiner = Actor(FOUND), Shifts()
    predictor = Predictor(roi_detector=actor, box_detector=BrightHalf(), refiner=refiner)
    serve(predictor, *own_streams())
