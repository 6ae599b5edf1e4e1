"""Refiners: what no gray range can reach, as a residual on top of the boxes.

A refiner looks at the surroundings of an ROI, at its box and at the whole image, and gives every
pixel a probability.
The mask stays boxes + residual, so the share that the gray range explains stays a number
(METHOD.md, section 2, "Refine").
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Residual, box_mask
from napari_graydet.io.weights import read_card
from napari_graydet.models.device import Notice, choose_device, run_with_fallback
from napari_graydet.models.refiner.model import RefinerModel, average_logits, looks_of
from napari_graydet.models.refiner.patch import (
    Frame,
    Mask,
    painted,
    part_in,
    parts_beyond,
    patch_of,
    with_scene,
)

__all__ = ["Refiner", "RefinerModel"]

_CONFIRMED = 0.5
"""Least IoU of an ROI that only the scene showed with the part that its patch shows."""

_AGREES = 0.3
"""Least IoU of a doubtful ROI with what the scene shows: two who see the same are believed."""

_SURE_OF_LABEL = 0.5
"""Score of an ROI from which on the image does show its label: the scene was never shown an image
without the label that it is asked for."""

_WELL_PLACED = 0.9
"""IoU of an ROI with the part in it from which another look says nothing new."""


class Refiner:
    """Refines the masks of boxes; may be used from several threads at once.

    Parameters
    ----------
    model
        What was trained.
    name
        For records and the window.
    device
        "auto", "cuda", "mps" or "cpu". When an accelerator's memory is full, the CPU takes over.
    notice
        Told when that happens.
    looks
        How often to look at a detected ROI at most: where the part that patch and scene show lies
        elsewhere in the patch than in training, the patch is laid around it and looked at again.
    """

    def __init__(
        self,
        model: RefinerModel,
        *,
        name: str = "refiner",
        device: str = "auto",
        notice: Notice | None = None,
        looks: int = 4,
    ) -> None:
        self.model = model
        self.name = name
        self._looks = looks
        self._notice = notice
        self._lock = threading.Lock()
        self._scenes: WeakKeyDictionary[GrayImage, dict[str, Tensor]] = WeakKeyDictionary()
        self._device = choose_device(device)
        for network in model.networks.values():
            network.to(self._device)

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", notice: Notice | None = None) -> Refiner:
        """Read weights; the refiner is named as detectors are: network and digest.

        Raises
        ------
        WeightsError
            If the weights are damaged or of another kind.
        """
        model = RefinerModel.load(path)
        name = f"{model.kind} refiner {read_card(path).sha256[:8]}"
        return cls(model, name=name, device=device, notice=notice)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes it knows."""
        return self.model.classes

    def masks(self, image: GrayImage, boxes: Sequence[BoxProposal]) -> dict[str, Mask]:
        """Return the refined (H, W) mask of every label that it knows and that has a box.

        Pixels just outside an ROI can be added. Where ROIs of a label overlap, each counts by how
        far inside of its own patch the pixel lies.
        """
        refined = {}
        for label in dict.fromkeys(b.label for b in boxes if b.label in self.labels):
            own = [b for b in boxes if b.label == label]
            rois = [b.box.roi.clip(image.shape) for b in own]
            pieces = [self._seen(image, one, rois[:i] + rois[i + 1 :]) for i, one in enumerate(own)]
            scene = self._on_scene(image, label)
            refined[label] = painted(pieces, self.model.frame, image.shape, scene)
        return refined

    def missed(
        self,
        image: GrayImage,
        rois: Sequence[RoiProposal],
        doubtful: Sequence[RoiProposal] = (),
    ) -> list[RoiProposal]:
        """Return ROIs of parts that are seen in the image as a whole, but by no ROI detector.

        Parameters
        ----------
        image
            The image.
        rois
            What was detected. Where several labels are known, only those are looked for that were
            detected for sure.
        doubtful
            What the ROI detector alone would not propose. Where the patch of a part that is seen
            in the whole image does not show it, the doubtful ROI that fits it best is taken.

        Returns
        -------
        ROIs with the mean probability of the part as score, doubtful ones with their own; none if
        no network sees the whole image.
        """
        shown = {roi.label for roi in rois if roi.score >= _SURE_OF_LABEL}
        found = []
        for label in self.labels:
            if label not in shown and len(self.labels) > 1:
                continue
            scene = self._on_scene(image, label)
            if scene is not None:
                own = [roi.roi for roi in rois if roi.label == label]
                others = [roi for roi in doubtful if roi.label == label]
                for roi, sure in parts_beyond(scene, own, image.shape):
                    part = RoiProposal(roi, label, sure)
                    if self._is_seen_in(image, roi, label):
                        found.append(part)
                    elif (best := _best_fit(part, others)) is not None:
                        others.remove(best)
                        found.append(best)
        return found

    def _is_seen_in(self, image: GrayImage, roi: RoiBox, label: str) -> bool:
        """Tell whether an ROI's patch, too, shows a part that fills the ROI."""
        logits = self._on_patch(image, roi, label, None)
        if logits is None:
            return True
        part = part_in(logits, roi, self.model.frame, image.shape)
        return part is not None and part.iou(roi) >= _CONFIRMED

    def refine(
        self,
        image: GrayImage,
        boxes: Sequence[BoxProposal],
        bases: Mapping[str, Mask] | None = None,
    ) -> dict[str, Residual]:
        """Return for every label that it knows what to add to and erase from the boxes' mask.

        Parameters
        ----------
        image, boxes
            What was detected.
        bases
            (H, W) masks by label that the residual will lie on, where they were cleaned up; None
            for the plain masks of the boxes.
        """
        residuals = {}
        for label, mask in self.masks(image, boxes).items():
            if bases is not None:
                base = bases[label]
            else:
                base = box_mask(image.pixels, [b.box for b in boxes if b.label == label])
            residuals[label] = Residual.between(base, mask)
        return residuals

    def _seen(
        self, image: GrayImage, proposal: BoxProposal, others: Sequence[RoiBox]
    ) -> tuple[RoiBox, Tensor | None]:
        """Return the ROI that was looked at last, and the logits of its patch.

        Beyond where it looked before it does not go after what lies in other ROIs. An ROI that a
        person has drawn lies where it is meant to.
        """
        box, label = proposal.box, proposal.label
        roi = box.roi.clip(image.shape)
        logits = self._on_patch(image, roi, label, box)
        for _ in range(0 if proposal.drawn else self._looks - 1):
            if logits is None:
                break
            seen = self._with_scene(logits, image, roi, label)
            part = part_in(seen, roi, self.model.frame, image.shape, others)
            if part is None or part.iou(roi) > _WELL_PLACED:
                break
            roi, logits = part, self._on_patch(image, part, label, box)
        return roi, logits

    def _with_scene(self, logits: Tensor, image: GrayImage, roi: RoiBox, label: str) -> Tensor:
        """Return what a patch and the scene say together: a patch alone knows no neighbours."""
        scene = self._on_scene(image, label)
        if scene is None:
            return logits
        return with_scene(logits, scene, roi, self.model.frame, image.shape)

    def _on_patch(
        self, image: GrayImage, roi: RoiBox, label: str, box: GrayBox | None
    ) -> Tensor | None:
        """Return the (1, S, S) logits of an ROI's patch; None if no network looks at patches."""
        model = self.model.on_patches
        return None if model is None else self._logits(model, image, roi, label, box, model.frame)

    def _on_scene(self, image: GrayImage, label: str) -> Tensor | None:
        """Return the (1, S, S) logits of the whole image; None if no network looks at it.

        Looked at once per image: what was missed, the masks, and every change of a box ask for it.
        """
        model, roi = self.model.on_scene, RoiBox.of_image(image.shape)
        if model is None:
            return None
        with self._lock:
            seen = self._scenes.setdefault(image, {})
        if label not in seen:
            seen[label] = self._logits(model, image, roi, label, None, model.frame.scene)
        return seen[label]

    def _logits(
        self,
        model: RefinerModel,
        image: GrayImage,
        roi: RoiBox,
        label: str,
        box: GrayBox | None,
        frame: Frame,
    ) -> Tensor:
        """Return the (1, S, S) logits of a patch, the average of the networks' looks."""
        patch = torch.from_numpy(patch_of(image, roi, box, frame))[None]
        class_ids = torch.tensor([self.labels.index(label)])

        def run(device: torch.device) -> Tensor:
            with self._lock, torch.inference_mode():
                for network in model.networks.values():
                    network.to(device)
                looks = looks_of(model, patch.to(device), class_ids.to(device))
                return average_logits(list(looks.values())).cpu()

        logits, self._device = run_with_fallback(run, self._device, self._notice)
        return logits


def _best_fit(part: RoiProposal, others: Sequence[RoiProposal]) -> RoiProposal | None:
    """Return the ROI that has most in common with a part, if that is enough."""
    best = max(others, key=lambda roi: roi.roi.iou(part.roi), default=None)
    return best if best is not None and best.roi.iou(part.roi) >= _AGREES else None
