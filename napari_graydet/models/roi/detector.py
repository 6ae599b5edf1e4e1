"""ROIs from a YOLO.

Source: the paper, "ROI extraction" (YOLOv3). The default network is YOLOv3-tiny: darknet's
backbone and neck, but ultralytics' anchor-free head in place of the paper's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.nms import RoiCandidates, vote_rois
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError, ModelError, WeightsError
from napari_graydet.io.weights import check_kind, load_weights
from napari_graydet.models.device import Notice, choose_device, run_with_fallback
from napari_graydet.models.roi.views import candidates_of, letterbox, views_of
from napari_graydet.models.roi.yolo import (
    build_yolo,
    restore_state,
    safe_checkpoint,
    ultralytics,
)

VOTING_SCORE = 0.03
"""Candidates vote on the edges of better ones down to this score."""

_SAME = 0.99
"""Candidates of one view that overlap by more are one."""

_MOST_CANDIDATES = 600
"""In each view; ultralytics goes through them one by one in Python."""

_LARGE = 0.5
"""Longest side of an ROI, as a share of the image's, from which it counts as large."""

_BLUR = 0.85
"""Down to this share of it, the coarse look counts as well: nothing falls between two looks."""

_SEEN = 0.2
"""An ROI of the right size with this score means that there is something to be found: then what is
seen at the wrong size does not count. It is fixed, or a lower least score would lose ROIs."""

_NOBODY_VOTES = 1.0

_CHECKPOINT_SIZE = 640
"""Picture size that ultralytics' checkpoints are trained for."""


class RoiSettings(BaseModel):
    """How a YOLO looks at an image; stands in the weights' card as its configuration.

    Parameters
    ----------
    image_size
        Longest side in pixels to which an image is scaled, a multiple of 32.
    coarse_size
        The same, where it is smaller, for objects that are large in the image: a network finds
        objects of the extents, in pixels, that it was trained on (docs/decisions/0013). None to
        look at `image_size` only.
    min_score
        Proposals below this score are dropped.
    nms_iou
        Of two ROIs of one label that overlap more than this, the better one stays.
    voting_iou
        Candidates that overlap an ROI by at least this vote on its edges; 1 for none.
    mirrored
        Whether to look at the mirrored image, too; takes twice the time.
    most
        Largest number of ROIs of an image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(480, ge=64, le=4096, multiple_of=32)
    coarse_size: int | None = Field(320, ge=64, le=4096, multiple_of=32)
    min_score: float = Field(0.2, gt=0, lt=1)
    nms_iou: float = Field(0.55, gt=0, lt=1)
    voting_iou: float = Field(0.7, gt=0, le=1)
    mirrored: bool = True
    most: int = Field(100, ge=1, le=1000)

    @property
    def looks(self) -> list[tuple[int, float, float]]:
        """Picture sizes, each with the extents it is for: shares of the image's longest side."""
        if self.coarse_size is None or self.coarse_size >= self.image_size:
            return [(self.image_size, 0.0, np.inf)]
        return [(self.image_size, 0.0, _LARGE), (self.coarse_size, _LARGE * _BLUR, np.inf)]


class YoloRoiDetector:
    """A YOLO behind the `RoiDetector` protocol; one ROI per object.

    Detection may be called from any thread; calls wait for each other.

    Parameters
    ----------
    network
        Detection network of ultralytics, not fused.
    labels
        Class names by id.
    name
        Name for the record.
    settings
        How to look at an image.
    device
        See `choose_device`.
    notice
        Told when the accelerator's memory is full and the CPU takes over.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: Sequence[str],
        *,
        name: str,
        settings: RoiSettings | None = None,
        device: str = "auto",
        notice: Notice | None = None,
    ) -> None:
        nms = ultralytics("ultralytics.utils.nms")
        self._suppress: Callable[..., Any] = nms.non_max_suppression
        self.name = name
        self.labels = tuple(labels)
        self.settings = settings or RoiSettings()
        self._device = choose_device(device)
        self._notice = notice
        self._lock = threading.Lock()
        fused: Any = network.float().eval()
        self._network: nn.Module = fused.fuse(verbose=False).to(memory_format=torch.channels_last)
        self._network.requires_grad_(False)

    @classmethod
    def from_weights(
        cls,
        path: Path,
        *,
        device: str = "auto",
        notice: Notice | None = None,
    ) -> YoloRoiDetector:
        """Load the project's own weights (safetensors and card).

        Raises
        ------
        WeightsError
            If the files are damaged, or of another kind or architecture.
        """
        tensors, card = load_weights(path)
        check_kind(card, "roi", path)
        try:
            settings = RoiSettings.model_validate(card.configuration)
            network = build_yolo(card.architecture, len(card.classes))
        except (ValidationError, ModelError) as error:
            first = str(error).splitlines()[0]
            raise WeightsError(f"The card of {path.name} describes no YOLO: {first}") from error
        restore_state(network, tensors, path.name)
        name = f"{card.architecture} {card.sha256[:8]}"
        return cls(
            network, card.classes, name=name, settings=settings, device=device, notice=notice
        )

    @classmethod
    def from_checkpoint(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        notice: Notice | None = None,
    ) -> YoloRoiDetector:
        """Load a checkpoint of ultralytics (`.pt`), executing nothing that is pickled in it.

        Parameters
        ----------
        source
            A file, or the name of one in the working folder ("yolo11n"); nothing is downloaded.

        Raises
        ------
        ModelError
            If there is no such file here.
        WeightsError
            If it is damaged, is not a detector, or asks for code to be run.
        """
        path = Path(source)
        path = path if path.suffix == ".pt" else path.with_name(path.name + ".pt")
        if not path.is_file():
            raise ModelError(
                f"There is no file {path}, and models are not downloaded; "
                "download the checkpoint yourself and give its path."
            )
        network: Any = safe_checkpoint(path)
        names = network.names
        labels = [names[i] for i in sorted(names)] if isinstance(names, dict) else list(names)
        settings = RoiSettings(image_size=_CHECKPOINT_SIZE, coarse_size=None)
        return cls(network, labels, name=path.stem, settings=settings, device=device, notice=notice)

    @property
    def device(self) -> torch.device:
        """Where it computes; the CPU from the moment an accelerator ran out of memory."""
        return self._device

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        """Return the ROIs of an image, best first, in the image's continuous pixels.

        Parameters
        ----------
        image
            Windowed to 8 bit, scaled to the settings' sizes.
        min_score
            Least score; None takes the settings'.
        """
        settings = self.settings
        least = settings.min_score if min_score is None else min_score
        gray, lowest = image.display8(), min(least, _SEEN)
        looks = [self._look(gray, lowest, size) for size, _, _ in settings.looks]
        fitting = [
            _between(seen, smallest, largest, gray.shape)
            for seen, (_, smallest, largest) in zip(looks, settings.looks, strict=True)
        ]
        found = self._joined(fitting, lowest)
        if not (found.scores >= _SEEN).any():  # rather what is seen at the wrong size than nothing
            found = self._joined(looks, lowest)
        found_rows = zip(found.corners, found.classes, found.scores, strict=True)
        proposals = (self._proposal(*row, image.shape) for row in found_rows if row[2] >= least)
        return [p for p in proposals if p is not None][: settings.most]

    def _look(self, gray: npt.NDArray[np.uint8], least: float, size: int) -> RoiCandidates:
        """Return the ROIs that are seen at one size, in pixels of the image."""
        settings, (height, width) = self.settings, gray.shape
        canvas, (columns, rows) = letterbox(gray, size)
        with self._lock:
            candidates, self._device = run_with_fallback(
                lambda device: self._candidates(canvas, columns, least, device),
                self._device,
                self._notice,
            )
        found = vote_rois(
            candidates,
            1 + settings.mirrored,
            nms_iou=settings.nms_iou,
            voting_iou=settings.voting_iou,
            min_score=least,
        )
        return replace(
            found, corners=found.corners / np.array([columns / width, rows / height] * 2)
        )

    def _joined(self, looks: Sequence[RoiCandidates], least: float) -> RoiCandidates:
        """Return the ROIs of several looks; of those that are one, the better."""
        if len(looks) == 1:
            return looks[0]
        together = RoiCandidates(
            np.concatenate([look.corners for look in looks]),
            np.concatenate([look.scores for look in looks]),
            np.concatenate([look.classes for look in looks]),
            np.zeros(sum(map(len, looks)), dtype=np.intp),
        )
        return vote_rois(
            together,
            1,
            nms_iou=self.settings.nms_iou,
            voting_iou=_NOBODY_VOTES,
            min_score=least,
        )

    def _candidates(
        self, canvas: torch.Tensor, width: int, min_score: float, device: torch.device
    ) -> RoiCandidates:
        """Return what the network sees on the canvas, and if wanted on its mirror image.

        Parameters
        ----------
        canvas, width
            See `letterbox`; the image's columns on it.
        min_score
            Least score wanted in the end.
        """
        views = views_of(canvas, width, self.settings.mirrored)
        batch = views.to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            outputs = self._network.to(device)(batch)
            least = min(min_score, VOTING_SCORE)
            seen = self._suppress(
                outputs, least, _SAME, max_det=_MOST_CANDIDATES, max_nms=_MOST_CANDIDATES
            )
        return candidates_of([view[:, :6].float().cpu().numpy() for view in seen], width)

    def _proposal(
        self,
        corners: npt.NDArray[np.float64],
        class_id: int,
        score: float,
        shape: tuple[int, int],
    ) -> RoiProposal | None:
        try:
            roi = RoiBox(*(float(v) for v in corners)).clip(shape)
        except GeometryError:  # wholly in the padding, or narrower than a pixel
            return None
        return RoiProposal(roi, self.labels[class_id], float(np.clip(score, 0.0, 1.0)))


def _between(
    seen: RoiCandidates, smallest: float, largest: float, shape: tuple[int, ...]
) -> RoiCandidates:
    """Return the ROIs whose longer side, as a share of the image's, is between two."""
    extent = (seen.corners[:, 2:] - seen.corners[:, :2]).max(axis=1, initial=0.0) / max(shape)
    kept = (extent >= smallest) & (extent <= largest)
    return RoiCandidates(
        seen.corners[kept], seen.scores[kept], seen.classes[kept], seen.views[kept]
    )
