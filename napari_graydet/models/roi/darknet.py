"""Darknet `.weights` files -> layers of ultralytics' YOLOv3 and YOLOv3-tiny.

The paper started from YOLOv3 weights of the darknet framework. Such a file is a header and then
float32 numbers in the order of the network's layers: per convolution the bias (of the batch
normalisation: shift, scale, running mean, running variance) and then the kernel, (out, in, h, w).
The file does not say which network it belongs to; its length does. Nothing in it is executed.

ultralytics' YOLOv3 has 3 x 3 kernels where darknet's blocks begin with 1 x 1 ones; those go into
the middle of 3 x 3 ones that are 0 elsewhere, which computes the same.

Source: `parser.c` of the darknet framework (load_weights_upto, load_convolutional_weights), and its
`yolov3.cfg` and `yolov3-tiny.cfg`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import WeightsError

Float32 = npt.NDArray[np.float32]

_LARGEST = 1 << 30
"""No darknet file of these networks comes near a gigabyte."""


@dataclass(frozen=True)
class _Convolution:
    """A convolution as it stands in the file.

    `name` is that of the layer in ultralytics' model; None marks a detection layer, which has no
    batch normalisation, as many outputs as the file's classes ask for, and no counterpart.
    `widened` tells that the model's kernel is 3 x 3 where the file's is 1 x 1.
    """

    name: str | None
    inputs: int
    outputs: int
    kernel: int
    widened: bool = False


def _tiny() -> Iterator[_Convolution]:
    layers = (
        (0, 3, 16, 3),
        (2, 16, 32, 3),
        (4, 32, 64, 3),
        (6, 64, 128, 3),
        (8, 128, 256, 3),
        (10, 256, 512, 3),
        (13, 512, 1024, 3),
        (14, 1024, 256, 1),
        (15, 256, 512, 3),
        (None, 512, 0, 1),
        (16, 256, 128, 1),
        (19, 384, 256, 3),
        (None, 256, 0, 1),
    )
    for layer, inputs, outputs, kernel in layers:
        name = None if layer is None else f"model.{layer}"
        yield _Convolution(name, inputs, outputs, kernel)


def _full() -> Iterator[_Convolution]:
    """Darknet-53 and the three branches of the head, in the order of `yolov3.cfg`."""
    yield _Convolution("model.0", 3, 32, 3)
    width = 32
    for layer, blocks in ((1, 1), (3, 2), (5, 8), (7, 8), (9, 4)):
        yield _Convolution(f"model.{layer}", width, 2 * width, 3)
        width *= 2
        for block in range(blocks):
            place = f"model.{layer + 1}" + (f".{block}" if blocks > 1 else "")
            yield from _bottleneck(place, width, width)
    yield from _bottleneck("model.11", 1024, 1024)
    for layer, inputs, outputs, kernel in (
        (12, 1024, 512, 1),
        (13, 512, 1024, 3),
        (14, 1024, 512, 1),
        (15, 512, 1024, 3),
    ):
        yield _Convolution(f"model.{layer}", inputs, outputs, kernel)
    yield _Convolution(None, 1024, 0, 1)
    yield _Convolution("model.16", 512, 256, 1)
    yield from _bottleneck("model.19", 768, 512)
    yield from _bottleneck("model.20", 512, 512)
    yield _Convolution("model.21", 512, 256, 1)
    yield _Convolution("model.22", 256, 512, 3)
    yield _Convolution(None, 512, 0, 1)
    yield _Convolution("model.23", 256, 128, 1)
    yield from _bottleneck("model.26", 384, 256)
    for block in range(2):
        yield from _bottleneck(f"model.27.{block}", 256, 256)
    yield _Convolution(None, 256, 0, 1)


def _bottleneck(place: str, inputs: int, outputs: int) -> Iterator[_Convolution]:
    yield _Convolution(f"{place}.cv1", inputs, outputs // 2, 1, widened=True)
    yield _Convolution(f"{place}.cv2", outputs // 2, outputs, 3)


_NETWORKS = {"yolov3-tiny": tuple(_tiny()), "yolov3": tuple(_full())}


def darknet_architecture(path: Path) -> str:
    """Return the name of the network that a `.weights` file holds, "yolov3-tiny" or "yolov3".

    Raises
    ------
    WeightsError
        As `read_darknet`.
    """
    return _network_of(_numbers(path), path)[0]


def read_darknet(path: Path) -> dict[str, Float32]:
    """Read the backbone and neck of a darknet YOLOv3 or YOLOv3-tiny.

    Parameters
    ----------
    path
        A `.weights` file, of any number of classes.

    Returns
    -------
    dict
        Arrays by ultralytics' names: ``model.<layer>.conv.weight`` (out, in, h, w) and
        ``model.<layer>.bn.weight | bias | running_mean | running_var`` (out,). The detection layers
        are left out: they belong to darknet's anchors.

    Raises
    ------
    WeightsError
        If the file cannot be read, is damaged, cut short, or of another network.
    """
    numbers = _numbers(path)
    name, outputs = _network_of(numbers, path)
    tensors: dict[str, Float32] = {}
    at = 0
    for conv in _NETWORKS[name]:
        if conv.name is None:
            at += outputs * (conv.inputs + 1)
            continue
        tensors |= _layer(conv, numbers[at : at + _size(conv)])
        at += _size(conv)
    _check(tensors, path)
    return tensors


def _network_of(numbers: Float32, path: Path) -> tuple[str, int]:
    """Return the network that has so many numbers, and the outputs of its detection layers."""
    for name, layers in _NETWORKS.items():
        per_output = sum(c.inputs + 1 for c in layers if c.name is None)
        rest = numbers.size - sum(_size(c) for c in layers if c.name is not None)
        outputs, odd = divmod(rest, per_output)
        if rest > 0 and not odd and outputs % 3 == 0 and 18 <= outputs <= _MOST_OUTPUTS:
            return name, outputs  # 3 anchors x (4 + 1 + classes)
    raise WeightsError(
        f"{path.name}: expected a darknet YOLOv3 or YOLOv3-tiny, got {numbers.size} numbers, which "
        "fit no such network; the file is cut short or of another architecture."
    )


_MOST_OUTPUTS = 3 * (5 + 9999)
"""Of a detection layer; YOLO9000 had the most classes."""


def _size(conv: _Convolution) -> int:
    """Return how many numbers a normalised convolution takes."""
    return conv.outputs * (4 + conv.inputs * conv.kernel**2)


def _numbers(path: Path) -> Float32:
    """Return the float32 numbers behind the header: version, then images seen (32 or 64 bit)."""
    try:
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"{path.name}: expected a darknet YOLOv3, got over 1 GiB.")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"Cannot read the weights {path}: {error.strerror}.") from error
    if len(data) < 20:
        raise WeightsError(f"{path.name}: expected a darknet weights file, got {len(data)} bytes.")
    major, minor, _revision = struct.unpack_from("<3i", data)
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise WeightsError(
            f"{path.name}: expected a darknet weights file, got a header of version "
            f"{major}.{minor}; the file is damaged or something else."
        )
    start = 20 if major * 10 + minor >= 2 else 16
    if (len(data) - start) % 4:
        raise WeightsError(f"{path.name}: a darknet weights file must not end inside a number.")
    return np.frombuffer(data, dtype="<f4", offset=start)


def _layer(conv: _Convolution, numbers: Float32) -> dict[str, Float32]:
    n = conv.outputs
    bias, scale, mean, variance = numbers[: 4 * n].reshape(4, n)
    kernel = numbers[4 * n :].reshape(n, conv.inputs, conv.kernel, conv.kernel)
    if conv.widened:
        kernel = np.pad(kernel, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return {
        f"{conv.name}.conv.weight": kernel,
        f"{conv.name}.bn.weight": scale,
        f"{conv.name}.bn.bias": bias,
        f"{conv.name}.bn.running_mean": mean,
        f"{conv.name}.bn.running_var": variance,
    }


def _check(tensors: dict[str, Float32], path: Path) -> None:
    """Refuse numbers that no trained network holds: a damaged header shifts them all."""
    for name, values in tensors.items():
        if not np.isfinite(values).all() or (name.endswith("running_var") and (values < 0).any()):
            raise WeightsError(
                f"{path.name}: {name} holds numbers that no trained network has; "
                "the file is damaged."
            )
