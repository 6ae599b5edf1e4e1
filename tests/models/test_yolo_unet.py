"""The U-Net on YOLO's backbone: the same features as YOLO's, kept in files, slow where it knows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_graydet.errors import WeightsError
from napari_graydet.models.learning.loop import Budget, fit
from napari_graydet.models.refiner import learner as refiner_learner
from napari_graydet.models.refiner.learner import (
    OF_BACKBONE,
    RefinerLearner,
    RefinerTraining,
    new_network,
)
from napari_graydet.models.refiner.model import RefinerKind, RefinerModel
from napari_graydet.models.refiner.patch import CHANNELS, DEPTH, GRAY, INSIDE, VALID, Frame, X
from napari_graydet.models.refiner.samples import Drawn, draw, refiner_samples
from napari_graydet.models.refiner.training import train_refiner
from napari_graydet.models.refiner.yolo_unet import PLACES, YoloUNet, YoloUNetConfig
from napari_graydet.models.roi.training import tensors_of
from napari_graydet.models.roi.yolo import build_yolo
from tests.models.refiners import CLASSES, SMALL, disc

DECODER = (4, 4, 6, 6, 8)
IDS = torch.tensor([0, 1])
TRAINING = replace(
    SMALL,
    frame=Frame(64, scene_size=96),
    sizes={"unet": {"decoder": DECODER}, "scene": {"decoder": DECODER}},
)


@pytest.fixture(scope="module")
def yolo() -> torch.nn.Module:
    """A YOLOv3-tiny whose batch norms have seen something."""
    torch.manual_seed(3)
    network = build_yolo("yolov3-tiny", 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def test_the_backbone_gives_the_features_that_yolo_gives(yolo: torch.nn.Module) -> None:
    network = YoloUNet(YoloUNetConfig(2, DECODER)).eval()
    network.take_backbone(tensors_of(yolo))
    patches = torch.rand(2, CHANNELS, 64, 64) * 2 - 1
    features: list[torch.Tensor] = []
    for level in network.encoder:
        level.register_forward_hook(lambda _, __, made: features.append(made))
    with torch.no_grad():
        network(patches, IDS)
        x = ((patches[:, GRAY] + 1) / 2)[:, None].expand(-1, 3, -1, -1)
        for place, found in zip(PLACES, features, strict=True):
            for index in range(max(0, place - 1), place + 1):
                x = yolo.model[index](x)  # type: ignore[index, operator, union-attr]
            assert torch.linalg.norm(found - x) < 1e-3 * torch.linalg.norm(x)


def test_other_channels_count_for_nothing_at_first_and_are_learned() -> None:
    torch.manual_seed(0)
    network = YoloUNet(YoloUNetConfig(2, DECODER)).train()
    patches = torch.randn(2, CHANNELS, 64, 64)
    other = patches.clone()
    other[:, VALID] += 1.0
    assert torch.equal(network.eval()(patches, IDS), network(other, IDS))
    network.train()(patches, IDS).sum().backward()
    assert network.others.weight.grad is not None
    assert network.others.weight.grad[:, VALID].abs().sum() > 0
    assert network.others.weight.shape[1] == X, "coordinates it is not told"


def test_classes_are_told_apart() -> None:
    network = YoloUNet(YoloUNetConfig(2, DECODER)).eval()
    patch = torch.randn(1, CHANNELS, 64, 64)
    bone, lung = (network(patch, torch.tensor([i])) for i in (0, 1))
    assert bone.shape == (1, 64, 64)
    assert not torch.equal(bone, lung)


def test_weights_come_back_and_go_on_with_other_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = new_network("scene", CLASSES, TRAINING, None, None).eval()
    RefinerModel({"scene": network}, TRAINING.frame, CLASSES).save(tmp_path / "r.safetensors")
    again = RefinerModel.load(tmp_path / "r.safetensors")
    patches = torch.randn(2, CHANNELS, 96, 96)
    assert torch.allclose(again.networks["scene"](patches, IDS), network(patches, IDS), atol=0.02)
    more = new_network("scene", ("lung", "heart"), TRAINING, again, None).eval()
    assert isinstance(more, YoloUNet)
    lungs, ids = torch.tensor([0, 0]), torch.tensor([1, 1])
    assert torch.allclose(more(patches, lungs), again.networks["scene"](patches, ids))


@pytest.mark.parametrize("kind", ["unet", "scene"])
def test_it_never_hears_of_a_box(kind: RefinerKind) -> None:
    boxes = [DEPTH, INSIDE]
    model = train_refiner([disc(0)], CLASSES, seed=0, kind=kind, training=TRAINING)
    network = model.networks[kind]
    assert isinstance(network, YoloUNet)
    assert not network.others.weight[:, boxes].any()
    assert network.others.weight[:, VALID].any()
    patches = torch.randn(2, CHANNELS, 64, 64)
    boxed = patches.clone()
    boxed[:, boxes] = 1.0
    with torch.no_grad():
        assert torch.equal(network(patches, IDS), network(boxed, IDS))


def test_smaller_unets_are_told_the_box_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def spy(*args: Any) -> Drawn:
        drawn = draw(*args)
        seen.append(bool(drawn.channels[INSIDE].any()))
        return drawn

    monkeypatch.setattr(refiner_learner, "draw", spy)
    train_refiner([disc(0)], CLASSES, seed=0, kind="unet", training=SMALL)
    assert any(seen)


def test_cards_that_say_nothing_of_the_scenes_size_have_half_as_many_pixels_again(
    tmp_path: Path,
) -> None:
    network = new_network("scene", CLASSES, TRAINING, None, None).eval()
    path = tmp_path / "old.safetensors"
    RefinerModel({"scene": network}, Frame(64, scene_size=32), CLASSES).save(path)
    card = path.with_suffix(".json")
    said = json.loads(card.read_text())
    assert said["configuration"]["frame"].pop("scene_size") == 32
    card.write_text(json.dumps(said))
    assert RefinerModel.load(path).frame.scene == Frame(96, 0.0)


@pytest.mark.parametrize("kind", ["unet", "scene"])
def test_new_refiners_have_it(kind: RefinerKind) -> None:
    assert isinstance(new_network(kind, CLASSES, RefinerTraining(), None, None), YoloUNet)


def test_it_learns_from_coco_on_and_its_backbone_slowly(yolo: torch.nn.Module) -> None:
    training = replace(TRAINING, backbone=tensors_of(yolo))
    samples = refiner_samples([disc(seed) for seed in range(4)], CLASSES, training.frame)
    torch.manual_seed(0)
    network = new_network("scene", CLASSES, training, None, None)
    assert isinstance(network, YoloUNet)
    started = [p.detach().clone() for p in network.encoder.parameters()]
    learner = RefinerLearner(
        network, "scene", CLASSES, samples.of("scene"), training, 0, device="cpu"
    )
    learner.prepare(1, 0.5)
    rates = {id(p): g["lr"] for g in learner.optimiser.param_groups for p in g["params"]}
    backbone = {rates[id(p)] for p in network.encoder.parameters()}
    assert backbone == {OF_BACKBONE * rates[id(network.logits.weight)]}
    assert len(rates) == len(list(network.parameters()))
    fit(learner, Budget(2))
    moved = [
        float((p - q).abs().max())
        for p, q in zip(network.encoder.parameters(), started, strict=True)
    ]
    assert max(moved) > 0


def test_a_backbone_of_another_network_is_refused(yolo: torch.nn.Module) -> None:
    network = YoloUNet(YoloUNetConfig(2, DECODER))
    tensors = tensors_of(yolo)
    wrong = {**tensors, "model.4.conv.weight": np.zeros((64, 16, 3, 3), np.float32)}
    for given in ({}, wrong, {k: v for k, v in tensors.items() if "model.8" not in k}):
        with pytest.raises(WeightsError, match="of a YOLOv3-tiny"):
            network.take_backbone(given)
