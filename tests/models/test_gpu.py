"""The networks on a GPU: every training and every detector, and back on the CPU.

Where there is a GPU these run on it; elsewhere on one that is pretended, which refuses what a real
one would refuse (a tensor left on the CPU, numpy on a GPU's memory).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError
from napari_graydet.models.baselines import training as baseline_training
from napari_graydet.models.baselines.networks import BASELINES
from napari_graydet.models.boxes.detector import BoxDetector
from napari_graydet.models.boxes.paper_pointnet import PaperBoxDetector
from napari_graydet.models.boxes.paper_training import train_paper_boxes
from napari_graydet.models.boxes.training import BoxTraining, train_boxes
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.loop import Budget, Step, Watch
from napari_graydet.models.modelnet import Clouds
from napari_graydet.models.pretraining import pretrain
from napari_graydet.models.refiner.model import RefinerKind
from napari_graydet.models.refiner.refiner import Refiner
from napari_graydet.models.refiner.training import train_refiner
from napari_graydet.models.roi import training as roi_training
from napari_graydet.models.roi.detector import RoiSettings, YoloRoiDetector
from napari_graydet.models.roi.learner import Stage
from tests.models import test_baseline_training, test_paper_training
from tests.models.pretended_gpu import MisplacedError, gpu_of_this_machine, is_on_gpu
from tests.models.refiners import CLASSES, SMALL, disc, probabilities
from tests.models.test_box_training import disk_sample
from tests.models.test_roi_training import make_start, squares

REAL = torch.cuda.is_available()
NEAR = 0.01
"""A GPU multiplies with fewer digits."""

SHORT = BoxTraining(steps=4, batch=2, points=64, regressor_rois=6, global_width=32, tnet_width=16)


@pytest.fixture(params=["cuda", "mps"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    torch.set_num_threads(1)
    with gpu_of_this_machine(monkeypatch, request.param):
        yield request.param


def stop_at(step: int) -> Callable[[Step], None]:
    def told(at: Step) -> None:
        if at.step == step:
            raise CancelledError("stopped")

    return told


@pytest.mark.skipif(REAL, reason="there is a real GPU here")
def test_the_pretended_gpu_refuses_what_a_real_one_does(gpu: str) -> None:
    there, here = torch.ones(3, device=gpu), torch.ones(3)
    assert there.device.type == gpu and not is_on_gpu(here)
    for wrong in (
        lambda: there + here,
        lambda: torch.nn.functional.linear(here, torch.ones(2, 3, device=gpu)),
        lambda: torch.cat([there, here]),
        lambda: here[torch.tensor([0], device=gpu)],
        lambda: np.asarray(there),
        lambda: there.numpy(),
        lambda: torch.rand(3, device=gpu, generator=torch.Generator()),
    ):
        with pytest.raises(MisplacedError):
            wrong()
    assert float((there * 2 + torch.tensor(1.0)).sum()) == 9
    assert there.cpu().numpy().sum() == 3 and here.to(there).device.type == gpu


def test_boxes_learn_go_on_and_are_asked(gpu: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    samples = [disk_sample(rng, k) for k in (0, 1) for _ in range(3)]
    budget, classes = Budget(SHORT.steps, validations=2), ("bright", "dark")

    def train(watch: Watch) -> object:
        return train_boxes(
            samples, classes, seed=0, training=SHORT, validation=samples[:2], budget=budget,
            device=gpu, watch=replace(watch, checkpoints=Checkpoints(tmp_path, seconds=0)),
        )  # fmt: skip

    with pytest.raises(CancelledError):
        train(Watch(step=stop_at(2)))
    model = train(Watch())
    pixels = (samples[0].unit * 255).astype(np.uint8)
    image, roi = GrayImage(pixels, GrayScale.of_bits(8)), RoiBox(2, 2, 62, 62)
    model.save(tmp_path / "boxes.safetensors", seed=0)
    here, there = (
        BoxDetector.load(tmp_path / "boxes.safetensors", device=device).detect(image, roi)[0]
        for device in ("cpu", gpu)
    )
    assert here.score == pytest.approx(there.score, abs=NEAR)
    assert here.box.gray.low == pytest.approx(there.box.gray.low, abs=2)
    assert here.box.gray.high == pytest.approx(there.box.gray.high, abs=2)


@pytest.mark.parametrize(
    "stage",
    [Stage(0.5, 13, (1e-3, 1e-3), (64,)), Stage(0.5, "backbone", (1e-3, 1e-3), (64,), views=4)],
)
def test_rois_learn_and_are_asked(
    gpu: str,
    tmp_path: Path,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = (stage, Stage(0.5, 0, (1e-3, 5e-4), (64,)))
    monkeypatch.setitem(roi_training.PRESETS, "default", stages)
    samples, out = squares(8), tmp_path / "out.safetensors"
    roi_training.train_roi(
        samples, start=make_start(tmp_path), out=out, seed=0, epochs=2, classes=["bone"],
        held_out=samples[:4], settings=RoiSettings(image_size=64), data=["squares"], device=gpu,
    )  # fmt: skip
    found = [
        YoloRoiDetector.from_weights(out, device=device).detect(samples[0].image, min_score=0.001)
        for device in ("cpu", gpu)
    ]
    assert found[0][0].score == pytest.approx(found[1][0].score, abs=NEAR)


@pytest.mark.parametrize("kind", ["unet", "points", "scene"])
def test_refiners_learn_go_on_and_are_asked(gpu: str, tmp_path: Path, kind: RefinerKind) -> None:
    pictures = [disc(0), disc(1, "lung")]
    first = train_refiner(pictures, CLASSES, seed=1, kind=kind, training=SMALL, device=gpu)

    def train(watch: Watch) -> object:
        return train_refiner(
            pictures, CLASSES, seed=5, kind=kind, training=SMALL, start=first, device=gpu,
            watch=replace(watch, checkpoints=Checkpoints(tmp_path, seconds=0)),
        )  # fmt: skip

    with pytest.raises(CancelledError):
        train(Watch(step=stop_at(2)))
    model = train(Watch())
    model.with_flips(True).save(tmp_path / "r.safetensors", data=["discs"], seed=5)
    here, there = (
        probabilities(
            Refiner.load(tmp_path / "r.safetensors", device=device),
            pictures[0].image,
            RoiBox(12, 10, 50, 52),
            "bone",
        )
        for device in ("cpu", gpu)
    )
    np.testing.assert_allclose(here, there, atol=NEAR)


def test_the_papers_boxes_learn_and_are_asked(gpu: str, tmp_path: Path) -> None:
    paper = test_paper_training
    model = train_paper_boxes(
        paper.samples(4), ("a",), seed=0, epochs=2, config=paper.TINY, grid=paper.GRID,
        device=gpu,
    )  # fmt: skip
    model.save(tmp_path / "paper.safetensors", seed=0)
    pixels = (paper.samples(1)[0].unit * 255).astype(np.uint8)
    image = GrayImage(pixels, GrayScale.of_bits(8))
    for device in (gpu, "cpu"):
        detector = PaperBoxDetector.load(tmp_path / "paper.safetensors", device=device)
        assert len(detector.detect(image, RoiBox(1, 1, 39, 39))) == 1


def test_pretraining(gpu: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clouds = Clouds(
        rng.uniform(-1, 1, (12, 64, 3)).astype(np.float32), np.arange(12) % 2, ("ball", "plate")
    )
    out = tmp_path / "pointnet.safetensors"
    card = pretrain(
        clouds, clouds, out, seed=0, epochs=2, config=test_paper_training.TINY, device=gpu
    )
    assert card.kind == "pointnet"


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_learn_and_segment(gpu: str, name: str) -> None:
    disks, tiny = test_baseline_training.disks(3), test_baseline_training.TINY
    model = baseline_training.train_baseline(
        name, disks, ["disk"], seed=0, training=tiny, device=gpu
    )
    assert model.device.type == gpu
    assert model.segment(disks[0][0].image)["disk"].shape == disks[0][0].mask.shape
