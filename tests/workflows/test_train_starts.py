"""What a training starts from: each part from what fits it, and what fits none makes no run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import GraydetError, ModelError, WeightsError
from napari_graydet.io.weights import SHIPPED, WeightsCard, save_weights
from napari_graydet.models.boxes.interval import IntervalModel
from napari_graydet.models.boxes.paper_pointnet import PaperConfig, PaperModel, PaperPointNet
from napari_graydet.models.loading import shipped
from napari_graydet.models.modelnet import Clouds
from napari_graydet.models.pretraining import pretrain
from napari_graydet.project.model_entry import RANDOM
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.training import pretrain as pretraining
from napari_graydet.workflows.training.parts import NOT_FROM_COCO, parts_of
from napari_graydet.workflows.training.request import TrainRequest
from napari_graydet.workflows.training.starts import find_starts
from napari_graydet.workflows.training.train import train
from tests.workflows.trainings import make_folders


def paper_boxes(path: Path, *classes: str) -> Path:
    config = PaperConfig(len(classes), points=16, global_width=32, tnet_width=16)
    coef = np.zeros((len(classes), config.global_width + 1, 2))
    model = PaperModel(
        PaperPointNet(config).eval(), RidgeRegressor(coef), AnchorGrid(8), tuple(classes)
    )
    model.save(path, seed=0)
    return path


def rival(path: Path) -> Path:
    from napari_graydet.core.rivals import Otsu

    IntervalModel("otsu", Otsu.untrained(2), ("bone",)).save(path, seed=0)
    return path


def shapes(count: int = 4) -> Clouds:
    points = np.random.default_rng(0).normal(size=(count, 40, 3)).astype(np.float32)
    return Clouds(points, np.arange(count) % 2, ("a", "b"))


def narrow_pointnet(path: Path) -> Path:
    config = PaperConfig(1, points=16, global_width=32, tnet_width=16)
    pretrain(shapes(), shapes(), path, seed=0, epochs=1, config=config, device="cpu")
    return path


def unknown_yolo(path: Path) -> Path:
    card = WeightsCard(kind="roi", architecture="yolo-of-1850", classes=["bone"])
    save_weights(path, {"w": np.zeros(2)}, card)
    return path


def no_darknet(path: Path) -> Path:
    other = path.with_suffix(".weights")
    other.write_bytes(b"no network")
    return other


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    images, masks = make_folders(tmp_path / "data")
    return TrainRequest.of(images=str(images), masks=str(masks), label="bone", device="cpu")


@pytest.mark.parametrize(
    ("parts", "preset", "make"),
    [
        ("boxes", "fast", lambda path: paper_boxes(path, "bone")),
        ("boxes", "fast", rival),
        ("boxes", "fast", narrow_pointnet),
        ("boxes", "paper", narrow_pointnet),
        ("boxes", "paper", lambda path: paper_boxes(path, "bone")),
        ("regressor", "fast", lambda path: paper_boxes(path, "bone")),
        ("regressor", "fast", narrow_pointnet),
        ("regressor", "paper", lambda path: shipped("boxes")),
        ("regressor", "paper", lambda path: paper_boxes(path, "lung")),
        ("roi", "fast", unknown_yolo),
        ("roi", "fast", no_darknet),
    ],
)
def test_weights_of_another_network_are_one_line_and_no_run(
    tmp_path: Path,
    request_: TrainRequest,
    parts: str,
    preset: str,
    make: Callable[[Path], Path],
) -> None:
    start = str(make(tmp_path / "start.safetensors"))
    asked = request_.model_copy(update={"parts": parts, "preset": preset, "start": (start,)})
    with pytest.raises((WeightsError, ModelError)) as raised:
        train(asked, tmp_path / "study")
    assert "\n" not in str(raised.value)
    assert not ModelRegistry(tmp_path / "study").folder.exists()


def trained(registry: ModelRegistry, preset: str, make: Callable[[Path], Path]) -> str:
    """Leave boxes in the registry as a run of a preset does, and use them."""
    entry = registry.begin(["boxes"], preset=preset, seed=0, request={}, versions={})
    make(registry.weights_path(entry.id, "boxes"))
    registry.end(entry, "done")
    registry.activate(entry.id)
    return entry.id


def test_fast_does_not_stumble_over_boxes_of_the_paper_that_are_in_use(
    tmp_path: Path, request_: TrainRequest
) -> None:
    registry = ModelRegistry(tmp_path)
    trained(registry, "paper", lambda path: paper_boxes(path, "bone"))
    starts = find_starts(parts_of("boxes", "fast"), request_, registry, None)
    assert starts["boxes"].parent == SHIPPED and "preset paper" in str(starts["boxes"].notice)
    asked = request_.model_copy(update={"parts": "regressor"})
    with pytest.raises(ModelError, match="train boxes with preset fast"):
        train(asked, tmp_path)


def test_the_papers_own_starts(tmp_path: Path, request_: TrainRequest) -> None:
    registry, parts = ModelRegistry(tmp_path), parts_of("all", "paper")
    asked = request_.model_copy(update={"preset": "paper"})
    starts = find_starts(parts, asked, registry, None)
    assert (starts["boxes"].path, starts["boxes"].parent) == (None, RANDOM)
    assert starts["roi"].notice == NOT_FROM_COCO
    darknet, pointnet = tmp_path / "y.weights", narrow_pointnet(tmp_path / "p.safetensors")
    darknet.touch()
    asked = asked.model_copy(update={"start": (str(darknet), str(pointnet))})
    starts = find_starts(parts, asked, registry, None)
    assert {kind: start.path for kind, start in starts.items()} == {
        "roi": darknet,
        "boxes": pointnet,
    }


def test_files_go_before_models_and_none_is_left_over(
    tmp_path: Path, request_: TrainRequest
) -> None:
    registry, parts = ModelRegistry(tmp_path), parts_of("roi,boxes", "fast")
    pointnet = str(narrow_pointnet(tmp_path / "p.safetensors"))
    asked = request_.model_copy(update={"start": ("shipped", pointnet)})
    starts = find_starts(parts, asked, registry, None)
    assert (starts["roi"].parent, starts["boxes"].parent) == (SHIPPED, "p.safetensors")
    for too_many in ((pointnet, pointnet), ("shipped", "shipped")):
        asked = request_.model_copy(update={"start": too_many})
        with pytest.raises(WeightsError, match="one start too many"):
            find_starts(parts, asked, registry, None)


def test_one_start_as_earlier_versions_kept_it(request_: TrainRequest) -> None:
    stored = request_.model_dump(mode="json") | {"start": "shipped"}
    assert TrainRequest.of(**stored).start == ("shipped",)
    assert TrainRequest.of(**(stored | {"start": None})).start == ()


def test_pretraining_goes_on_with_its_own_shapes_only_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    from napari_graydet.models import modelnet
    from napari_graydet.models import pretraining as learning

    said: list[str] = []
    monkeypatch.setattr(modelnet, "read_modelnet", lambda data, part, rng: shapes(int(data.name)))
    monkeypatch.setattr(
        learning,
        "pretrain",
        lambda *given, watch, **named: said.append(str(watch.checkpoints.folder)),
    )
    out = tmp_path / "p.safetensors"
    for data, seed in (("4", 0), ("4", 0), ("6", 0), ("4", 1)):
        pretraining.pretrain_pointnet(Path(data), out, seed=seed)
    assert said[0] == said[1] and len(set(said)) == 3
    out.touch()
    for name in (out, out.with_suffix("")):
        with pytest.raises(GraydetError, match=r"p\.safetensors is there already"):
            pretraining.pretrain_pointnet(Path("4"), name)
