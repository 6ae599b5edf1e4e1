"""The five baselines: their size, what they map to, and that a missing MONAI is said clearly."""

from __future__ import annotations

import sys

import pytest
import torch

from napari_graydet.errors import ModelError
from napari_graydet.models.baselines.networks import (
    BASELINES,
    DIVISOR,
    build_baseline,
    parameters_of,
)

MONAI = tuple(name for name in BASELINES if name != "fcn")


@pytest.mark.parametrize("name", BASELINES)
def test_logits_of_every_pixel_and_class(name: str) -> None:
    network = build_baseline(name, 2).eval()
    with torch.inference_mode():
        logits = network(torch.rand(1, 1, 4 * DIVISOR, 3 * DIVISOR))
    assert logits.shape == (1, 2, 4 * DIVISOR, 3 * DIVISOR)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", BASELINES)
def test_networks_are_of_one_size(name: str) -> None:
    assert 1.7e6 <= parameters_of(build_baseline(name, 1)) <= 2.1e6


@pytest.mark.parametrize("name", BASELINES)
def test_every_weight_learns(name: str) -> None:
    network = build_baseline(name, 1).train()
    network(torch.rand(2, 1, 2 * DIVISOR, 2 * DIVISOR)).square().mean().backward()
    idle = [key for key, weight in network.named_parameters() if weight.grad is None]
    # Deep supervision of U-Net++ is off: the outputs of its coarser columns are not asked for.
    assert all("final_conv_0_" in key and "_4" not in key for key in idle)
    assert len(idle) <= 6


@pytest.mark.parametrize("name", MONAI)
def test_missing_monai_is_one_clear_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    with pytest.raises(ModelError, match=r'pip install "napari-graydet\[baselines\]"') as raised:
        build_baseline(name, 1)
    assert "\n" not in str(raised.value)


def test_fcn_needs_no_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks", None)
    build_baseline("fcn", 1)


def test_unknown_baseline() -> None:
    with pytest.raises(ModelError, match=r"fcn, unet, res-unet, unet\+\+, attention-unet"):
        build_baseline("segnet", 1)
