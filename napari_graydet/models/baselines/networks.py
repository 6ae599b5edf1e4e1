"""Baselines: the whole-image networks that the paper compares with (its "Comparison").

FCN is torchvision's, the four U-Nets are MONAI's, with the libraries' own blocks, norms and
activations. Their widths are set so that each has about two million parameters, as many as the
networks of this program's refiner: what is compared is the design, not the size.

===============  ============================================================  ===========
name             source                                                        parameters
===============  ============================================================  ===========
fcn              Long et al. 2015; torchvision FCN, ResNet stem, stride 8      1.74 M
unet             Ronneberger et al. 2015; MONAI BasicUNet                      1.95 M
res-unet         Zhang et al. 2018; MONAI UNet with 2 residual units           2.06 M
unet++           Zhou et al. 2018; MONAI BasicUNetPlusPlus                     2.01 M
attention-unet   Oktay et al. 2018; MONAI AttentionUnet                        1.99 M
===============  ============================================================  ===========

The only module that imports MONAI, which is an extra: ``napari-graydet[baselines]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from napari_graydet.errors import ModelError

DIVISOR = 16
"""The side of an input must be a multiple of this: the U-Nets halve it four times."""

_UNET = (16, 32, 64, 128, 256, 16)
_UNET_PLUS_PLUS = (15, 30, 60, 120, 240, 15)
_RES_UNET = (18, 36, 72, 144, 288)
_ATTENTION = (16, 32, 64, 128, 256)
_HALVINGS = (2, 2, 2, 2)
_FCN_BLOCKS = (2, 2, 1)
_FCN_WIDTH = 256


class Logits(nn.Module):
    """A library's network behind one signature.

    Parameters
    ----------
    network
        Maps (B, 1, S, S) to logits, to a list of them (deep supervision; the last is the finest),
        or to a mapping with ``out``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (B, 1, S, S) unit gray to (B, K, S, S) logits."""
        out: Any = self.network(pictures)
        if isinstance(out, dict):
            out = out["out"]
        logits: Tensor = out[-1] if isinstance(out, list | tuple) else out
        return logits


def build_baseline(name: str, n_classes: int) -> Logits:
    """Build a baseline with random weights (torch's generator).

    Parameters
    ----------
    name
        One of `BASELINES`.
    n_classes
        Channels of the output; classes don't exclude one another.

    Raises
    ------
    ModelError
        If the name is unknown, or MONAI is needed and not installed.
    """
    if name not in BASELINES:
        raise ModelError(f"Expected a baseline among {', '.join(BASELINES)}, got {name!r}.")
    return Logits(BASELINES[name](n_classes))


def parameters_of(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _monai() -> Any:
    try:
        from monai.networks import nets
    except ImportError as cause:
        raise ModelError(
            'The U-Net baselines need MONAI, which is not installed; pip install "napari-graydet'
            '[baselines]".'
        ) from cause
    return nets


def _unet(n_classes: int) -> nn.Module:
    network: nn.Module = _monai().BasicUNet(2, 1, n_classes, features=_UNET)
    return network


def _res_unet(n_classes: int) -> nn.Module:
    network: nn.Module = _monai().UNet(2, 1, n_classes, _RES_UNET, _HALVINGS, num_res_units=2)
    return network


def _unet_plus_plus(n_classes: int) -> nn.Module:
    network: nn.Module = _monai().BasicUNetPlusPlus(2, 1, n_classes, features=_UNET_PLUS_PLUS)
    return network


def _attention_unet(n_classes: int) -> nn.Module:
    network: nn.Module = _monai().AttentionUnet(2, 1, n_classes, _ATTENTION, _HALVINGS)
    return network


class _Fcn(nn.Module):
    """torchvision's FCN head on the first three stages of a small ResNet; no weights are loaded.

    As in torchvision's own FCN the output has an eighth of the input's resolution and is scaled up;
    the third stage does not halve, where theirs dilates.
    """

    def __init__(self, n_classes: int) -> None:
        from torchvision.models.resnet import BasicBlock, ResNet
        from torchvision.models.segmentation.fcn import FCNHead

        super().__init__()
        resnet = ResNet(BasicBlock, [*_FCN_BLOCKS, 1])
        resnet.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        first = resnet.layer3[0]
        first.conv1.stride = first.downsample[0].stride = (1, 1)
        stem = (resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.backbone = nn.Sequential(*stem, resnet.layer1, resnet.layer2, resnet.layer3)
        self.head = FCNHead(_FCN_WIDTH, n_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        coarse = self.head(self.backbone(pictures))
        return functional.interpolate(
            coarse, pictures.shape[2:], mode="bilinear", align_corners=False
        )


BASELINES: dict[str, Callable[[int], nn.Module]] = {
    "fcn": _Fcn,
    "unet": _unet,
    "res-unet": _res_unet,
    "unet++": _unet_plus_plus,
    "attention-unet": _attention_unet,
}
"""Networks by name: number of classes -> network."""
