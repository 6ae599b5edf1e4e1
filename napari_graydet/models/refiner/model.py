"""The networks of a refiner and their weights file.

Three networks can refine: a U-Net on the patch of an ROI (yolo_unet.py), PointNet's segmentation
head on the same patch (point_head.py), and the same U-Net on the whole image, the scene, which sees
less of the edges, but where in the body an ROI lies. Any of them can be averaged; which ones are
used was chosen on held-out images and stands in the card. Older files hold smaller U-Nets
(roi_unet.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from napari_graydet.errors import ModelError
from napari_graydet.io.weights import Tensors, WeightsCard
from napari_graydet.models.learning.checkpoints import tensors_in
from napari_graydet.models.refiner.patch import Frame, X
from napari_graydet.models.refiner.point_head import PointHead, PointHeadConfig
from napari_graydet.models.refiner.roi_unet import RoiUNet, RoiUNetConfig
from napari_graydet.models.refiner.yolo_unet import YoloUNet, YoloUNetConfig
from napari_graydet.models.stored import StoredModel, half

RefinerKind = Literal["unet", "points", "scene"]

SCENE: RefinerKind = "scene"

ARCHITECTURE = "refiner-1"
"""Changes whenever older weights no longer fit."""


@dataclass(frozen=True, eq=False)
class RefinerModel(StoredModel):
    """Networks, how they look at an image, and how they are used: what a weights file holds.

    Parameters
    ----------
    networks
        Networks by kind, in inference mode.
    frame
        The grid of their patches.
    classes
        Class names by id.
    flips
        Whether the mirror image is looked at as well, and the two are averaged.
    chosen
        Kinds of the networks that are used; None for all. The others are kept as starts of later
        trainings. The probabilities of those that look at patches are averaged, and their logits
        with the scene's.
    """

    weights_kind: ClassVar[Literal["refiner"]] = "refiner"
    architectures: ClassVar[tuple[str, ...]] = (ARCHITECTURE,)
    described: ClassVar[str] = f"a refiner ({ARCHITECTURE})"

    networks: Mapping[RefinerKind, nn.Module]
    frame: Frame
    classes: tuple[str, ...]
    flips: bool = False
    chosen: tuple[RefinerKind, ...] | None = None

    @property
    def used(self) -> tuple[RefinerKind, ...]:
        """Kinds of the networks that are used."""
        return tuple(self.networks) if self.chosen is None else self.chosen

    @property
    def kind(self) -> str:
        """Name of what is used: "unet", "unet+scene" and so on."""
        return "+".join(self.used)

    @property
    def on_patches(self) -> RefinerModel | None:
        """The networks that look at patches; None if there is none."""
        return self._only(*(kind for kind in self.used if kind != SCENE))

    @property
    def on_scene(self) -> RefinerModel | None:
        """The network that looks at the whole image; None if there is none."""
        return self._only(*(kind for kind in self.used if kind == SCENE))

    def _only(self, *kinds: RefinerKind) -> RefinerModel | None:
        networks = {kind: self.networks[kind] for kind in kinds}
        return replace(self, networks=networks, chosen=None) if kinds else None

    def with_flips(self, flips: bool) -> RefinerModel:
        """Return the same networks, with or without the mirror image."""
        return replace(self, flips=flips)

    def joined(self, other: RefinerModel) -> RefinerModel:
        """Return the average of this model's networks and those of another one like it.

        Raises
        ------
        ModelError
            If they do not go together.
        """
        if self.frame != other.frame or self.classes != other.classes:
            raise ModelError("Two refiners can be averaged if they share patches and classes.")
        return replace(self, networks={**self.networks, **other.networks}, chosen=None)

    @property
    def configuration(self) -> dict[str, Any]:
        """The networks' sizes, their patches, and how they are used."""
        plain: dict[str, Any] = _plain(
            {
                "networks": {k: asdict(_config(network)) for k, network in self.networks.items()},
                "frame": asdict(self.frame),
                "flips": self.flips,
                "chosen": self.used,
            }
        )
        return plain

    def to_tensors(self) -> Tensors:
        """Return the networks' weights, in half precision."""
        return {
            f"{kind}.{name}": half(value.detach().cpu().numpy())
            for kind, network in self.networks.items()
            for name, value in network.state_dict().items()
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, card: WeightsCard) -> Self:
        """Build the model; see `StoredModel.from_tensors`."""
        configuration: dict[str, Any] = dict(card.configuration)
        frame = _frame(configuration["frame"])
        networks: dict[RefinerKind, nn.Module] = {}
        for kind, sizes in configuration["networks"].items():
            network = build(kind, len(card.classes), _with_coordinates(kind, sizes))
            check_frame(frame.scene if kind == SCENE else frame, network)
            network.load_state_dict(tensors_in(tensors, kind))
            networks[kind] = network.eval()
        if not networks:
            raise ValueError("no network")
        chosen = tuple(configuration.get("chosen", networks))
        if not chosen or not set(chosen) <= set(networks):
            raise ValueError(f"networks {', '.join(networks)}, but {', '.join(chosen)} chosen")
        return cls(networks, frame, tuple(card.classes), bool(configuration["flips"]), chosen)


def build(kind: RefinerKind, n_classes: int, sizes: Mapping[str, Any] | None = None) -> nn.Module:
    """Build a network with random weights.

    Raises
    ------
    ModelError
        If the kind is unknown, or the sizes are those of other classes.
    """
    given = {**(sizes or {}), "n_classes": n_classes}
    if sizes is not None and sizes.get("n_classes", n_classes) != n_classes:
        raise ModelError(f"{n_classes} classes, but a network of {sizes['n_classes']}")
    if kind in ("unet", SCENE):
        if "widths" in given:
            return RoiUNet(RoiUNetConfig(**{**given, "widths": tuple(given["widths"])}))
        if "decoder" in given:
            given["decoder"] = tuple(given["decoder"])
        return YoloUNet(YoloUNetConfig(**given))
    if kind == "points":
        return PointHead(PointHeadConfig(**given))
    raise ModelError(f"Expected a refiner of kind 'unet', 'points' or 'scene', got {kind!r}.")


def _with_coordinates(kind: RefinerKind, sizes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the sizes in a card; U-Nets of cards that say nothing about coordinates see them."""
    is_roi_unet = kind != "points" and "widths" in sizes
    return {"coordinates": True, **sizes} if is_roi_unet else sizes


def _frame(sizes: Mapping[str, Any]) -> Frame:
    """Return the frame in a card; in older ones the scene has half as many pixels again."""
    return Frame(**{"scene_size": int(sizes["size"]) * 3 // 2, **sizes})


def check_frame(frame: Frame, network: nn.Module) -> None:
    """Raise `ModelError` unless patches of this frame go through a network."""
    multiple: Any = network.multiple
    if frame.size < multiple or frame.size % multiple or frame.margin < 0:
        raise ModelError(
            f"Expected patches of a multiple of {multiple} pixels and a margin of 0 or more, got "
            f"{frame.size} and {frame.margin}."
        )


def _config(network: nn.Module) -> Any:
    return network.config


def _plain(value: Any) -> Any:
    """Turn tuples into lists, as JSON has them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def looks_of(
    model: RefinerModel, patches: Tensor, class_ids: Tensor
) -> dict[tuple[RefinerKind, bool], Tensor]:
    """Return (B, S, S) logits by network, and by whether it looked at the mirror image."""
    seen = [(False, patches)]
    if model.flips:
        mirrored = patches.flip(-1)
        mirrored[:, X] = patches[:, X]  # coordinates stay, what they look at is mirrored
        seen.append((True, mirrored))
    return {
        (kind, flip): _unflipped(network(shown, class_ids).float(), flip)
        for kind, network in model.networks.items()
        for flip, shown in seen
    }


def _unflipped(logits: Tensor, flip: bool) -> Tensor:
    return logits.flip(-1) if flip else logits


def average_logits(looks: Sequence[Tensor]) -> Tensor:
    """Return the logits of the averaged probability."""
    if len(looks) == 1:
        return looks[0]
    return torch.logit(torch.stack(list(looks)).sigmoid().mean(dim=0), eps=1e-6)
