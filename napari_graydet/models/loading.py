"""Which model a name means: the shipped weights, the project's own files, ultralytics' checkpoints.

Light to import: networks and their libraries are loaded when a detector is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.weights import SHIPPED, WeightsKind, read_card

if TYPE_CHECKING:
    from napari_graydet.core.proposals import RoiDetector
    from napari_graydet.models.boxes.detector import BoxDetector
    from napari_graydet.models.boxes.interval import IntervalDetector
    from napari_graydet.models.boxes.paper_pointnet import PaperBoxDetector
    from napari_graydet.models.device import Notice
    from napari_graydet.models.refiner.refiner import Refiner

_WEIGHTS = Path(__file__).parent.parent / "weights"


def shipped(kind: WeightsKind) -> Path:
    """Return the weights that come with the package.

    Parameters
    ----------
    kind
        "roi", "boxes" or "refiner".

    Raises
    ------
    WeightsError
        If this installation has none.
    """
    path = _WEIGHTS / f"{kind}.safetensors"
    if not path.is_file():
        raise WeightsError(
            f"This installation has no {kind} weights ({path.name}); reinstall the package, make "
            "them with `make weights`, or choose a weights file."
        )
    return path


def shipped_refiner() -> Path | None:
    """Return the refiner that comes with the package; None where there is none."""
    path = _WEIGHTS / "refiner.safetensors"
    return path if path.is_file() and read_card(path).is_of_use else None


def load_roi_detector(
    source: str | Path | None = None, device: str = "auto", notice: Notice | None = None
) -> RoiDetector:
    """Load an ROI detector.

    Parameters
    ----------
    source
        None: the shipped weights. A `.safetensors` file: weights that this program trained.
        Anything else: a `.pt` checkpoint of ultralytics by file or name ("yolo11n"), which must lie
        on this machine.
    device
        "auto", "cuda", "mps" or "cpu".
    notice
        Told when an accelerator runs out of memory and the CPU takes over.

    Raises
    ------
    WeightsError
        If the file is damaged or of another kind.
    ModelError
        If there is no such model or device here.
    """
    from napari_graydet.models.roi.detector import YoloRoiDetector

    path = shipped("roi") if source is None else Path(source)
    if path.suffix == ".weights":
        raise ModelError(
            f"{path.name} is a darknet file: its backbone can start a training, but it has no head "
            "for ROIs; give .safetensors or .pt."
        )
    if path.suffix == ".safetensors":
        return YoloRoiDetector.from_weights(path, device=device, notice=notice)
    return YoloRoiDetector.from_checkpoint(path, device=device, notice=notice)


def load_box_detector(
    source: str | Path | None = None, device: str = "auto"
) -> BoxDetector | IntervalDetector | PaperBoxDetector:
    """Load a 3D box detector.

    Parameters
    ----------
    source
        None: the shipped weights. "otsu" or "multi-otsu": those, without training. Anything else: a
        `.safetensors` file, of the network or of a simple rival as its card says.
    device
        "auto", "cuda", "mps" or "cpu", for the network.

    Raises
    ------
    WeightsError
        If the file is damaged or of another kind.
    ModelError
        If there is no such device here.
    """
    from napari_graydet.models.boxes import interval

    for kind in interval.UNTRAINED:
        if source == kind:
            return interval.IntervalDetector.untrained(kind)
    path = shipped("boxes") if source is None else Path(source)
    architecture = read_card(path).architecture
    if interval.is_interval(architecture):
        return interval.IntervalDetector.load(path)
    if architecture.startswith("pointnet-paper"):
        from napari_graydet.models.boxes.paper_pointnet import PaperBoxDetector

        return PaperBoxDetector.load(path, device=device)
    from napari_graydet.models.boxes.detector import BoxDetector

    detector = BoxDetector.load(path, device=device)
    if detector.model.rival is None:
        return detector
    from napari_graydet.models.boxes.rival_detector import RivalDetector

    return RivalDetector(detector.model.rival, detector, path)


def load_refiner(source: str | Path, device: str = "auto", notice: Notice | None = None) -> Refiner:
    """Load a refiner.

    Parameters
    ----------
    source
        A `.safetensors` file, or "shipped" for the one that comes with the package.
    device, notice
        As for the others.

    Raises
    ------
    WeightsError
        If the file is damaged or of another kind.
    ModelError
        If there is no such device here.
    """
    from napari_graydet.models.refiner.refiner import Refiner

    path = shipped("refiner") if source == SHIPPED else Path(source)
    return Refiner.load(path, device=device, notice=notice)
