"""Networks of ultralytics: the only module that imports it."""

from __future__ import annotations

import importlib
import os
import pickle
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_graydet.errors import ModelError, WeightsError

DEFAULT_ARCHITECTURE = "yolov3-tiny"
"""Our own configuration of this name: as darknet's, with LeakyReLU."""

_CONFIGS = Path(__file__).with_name("configs")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENVIRONMENT = {
    "YOLO_OFFLINE": "1",
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "False",
    "ULTRALYTICS_SAFE_LOAD": "1",
}
_GROUP = ("RANK", "LOCAL_RANK")
"""With these of torchrun, importing it waits until every process of a group imports it, too."""

_UNREADABLE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch and ultralytics raise on foreign or damaged checkpoints."""

_import_lock = threading.Lock()
_build_lock = threading.Lock()


@contextmanager
def _quiet_environment() -> Iterator[None]:
    """Set what ultralytics reads at import, and afterwards put the environment back as it was.

    Importing it imports cv2, which points Qt at its own plugins: with those, a window opened later
    aborts the program. It also limits OpenMP to one thread for this process and its children.
    """
    before = dict(os.environ)
    cache = Path(before.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "napari-graydet"
    os.environ.update(_ENVIRONMENT)
    os.environ.setdefault("YOLO_CONFIG_DIR", str(cache))
    for name in _GROUP:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


def ultralytics(module: str) -> Any:
    """Import a module of ultralytics: offline, without telemetry, without pickled code."""
    with _import_lock, _quiet_environment():  # two threads would restore each other's settings
        settings = importlib.import_module("ultralytics.utils").SETTINGS
        if settings.get("sync", True):
            settings["sync"] = False
        return importlib.import_module(module)


def build_yolo(architecture: str, n_classes: int) -> nn.Module:
    """Build a detection network with random weights.

    Parameters
    ----------
    architecture
        Name of a configuration: ours (`DEFAULT_ARCHITECTURE`) or any that ultralytics brings along
        ("yolo11n", "yolov8s", "yolov3", ...).
    n_classes
        Number of classes.

    Returns
    -------
    torch.nn.Module
        In training, its ``loss({"img", "batch_idx", "cls", "bboxes"}, preds)`` is ultralytics'
        detection loss.

    Raises
    ------
    ModelError
        If there is no such configuration, or it is not one of a detector.
    """
    if not _NAME.fullmatch(architecture):
        raise ModelError(
            f"Expected the name of a YOLO such as yolov3-tiny, got {architecture!r}; choose other "
            "weights, or mend the name in their card."
        )
    own = _CONFIGS / f"{architecture}.yaml"
    tasks = ultralytics("ultralytics.nn.tasks")
    defaults = ultralytics("ultralytics.cfg").get_cfg()
    modules = ultralytics("ultralytics.nn.modules")
    convolution = modules.Conv
    with _build_lock:  # a configuration's activation is a class attribute there, kept for the next
        activation = convolution.default_act
        try:
            config = tasks.yaml_model_load(str(own) if own.exists() else f"{architecture}.yaml")
            network = tasks.DetectionModel(config, ch=3, nc=n_classes, verbose=False)
            if type(network.model[-1]) not in (modules.Detect, modules.v10Detect):
                raise TypeError("its head is not one of a detector")
        except (FileNotFoundError, KeyError, IndexError, AssertionError, TypeError) as error:
            raise ModelError(
                f"No YOLO detector is called {architecture!r}; expected {DEFAULT_ARCHITECTURE} or "
                "a detection configuration of ultralytics such as yolo11n."
            ) from error
        finally:
            convolution.default_act = activation
    network.args = defaults
    return network  # type: ignore[no-any-return]


def restore_state(network: nn.Module, tensors: Mapping[str, npt.NDArray[Any]], origin: str) -> None:
    """Load named arrays into a network; every parameter must be there, in its shape.

    Raises
    ------
    WeightsError
        If arrays are missing, left over, of other shapes, or not finite.
    """
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("_tracked")}
    strange = sorted(set(wanted) ^ set(tensors))
    if strange:
        raise WeightsError(
            f"{origin} does not hold the layers of its architecture: {strange[0]} and "
            f"{len(strange) - 1} more differ; give weights of the same YOLO, or download the file "
            "again."
        )
    for name, values in tensors.items():
        if tuple(values.shape) != tuple(wanted[name].shape):
            raise WeightsError(
                f"{origin}: {name} is {tuple(values.shape)}, expected {tuple(wanted[name].shape)}; "
                "the weights are of other classes or of another architecture."
            )
        if not np.isfinite(values).all():
            raise WeightsError(f"{origin}: {name} holds numbers that are not finite.")
    state = {name: torch.from_numpy(np.array(v)).float() for name, v in tensors.items()}
    network.load_state_dict(state, strict=False)


def safe_checkpoint(path: Path) -> nn.Module:
    """Return the network of a `.pt` file, reconstructing known classes only."""
    tasks = ultralytics("ultralytics.nn.tasks")
    if not tasks._SafeLoad.SUPPORTED:
        raise ModelError("This version of torch cannot load checkpoints safely; update torch.")
    try:
        checkpoint, _ = tasks.torch_safe_load(str(path), safe_only=True)
        network = checkpoint.get("ema") or checkpoint.get("model")
    except _UNREADABLE as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path.name} is no checkpoint that can be loaded: {first}") from error
    if not isinstance(network, tasks.DetectionModel):
        raise WeightsError(
            f"{path.name} holds no detection network of ultralytics; "
            "segmentation, pose and other models cannot propose ROIs."
        )
    return network.float()  # type: ignore[no-any-return]
