"""Darknet `.weights` files -> layers of ultralytics' YOLOv3-tiny.

The paper started from YOLOv3 weights of the darknet framework. Such a file is a header and then
float32 numbers in the order of the network's layers: per convolution the bias (of the batch
normalisation: shift, scale, running mean, running variance) and then the kernel, (out, in, h, w).
The file does not say which network it belongs to; its length does. Nothing in it is executed.

Source: `parser.c` of the darknet framework (load_weights_upto, load_convolutional_weights).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import WeightsError

Float32 = npt.NDArray[np.float32]

_LARGEST = 1 << 30
"""No darknet file of a tiny network comes near a gigabyte."""


@dataclass(frozen=True)
class _Convolution:
    """A convolution as it stands in the file.

    `layer` is its index in ultralytics' model; None marks one of the two detection layers, which
    have no batch normalisation, as many outputs as the file's classes ask for, and no counterpart.
    """

    layer: int | None
    inputs: int
    outputs: int
    kernel: int


_YOLOV3_TINY = (
    _Convolution(0, 3, 16, 3),
    _Convolution(2, 16, 32, 3),
    _Convolution(4, 32, 64, 3),
    _Convolution(6, 64, 128, 3),
    _Convolution(8, 128, 256, 3),
    _Convolution(10, 256, 512, 3),
    _Convolution(13, 512, 1024, 3),
    _Convolution(14, 1024, 256, 1),
    _Convolution(15, 256, 512, 3),
    _Convolution(None, 512, 0, 1),
    _Convolution(16, 256, 128, 1),
    _Convolution(19, 384, 256, 3),
    _Convolution(None, 256, 0, 1),
)


def read_darknet(path: Path) -> dict[str, Float32]:
    """Read the backbone and neck of a darknet YOLOv3-tiny.

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
    per_output = sum(c.inputs + 1 for c in _YOLOV3_TINY if c.layer is None)
    rest = numbers.size - sum(_size(c) for c in _YOLOV3_TINY if c.layer is not None)
    outputs, odd = divmod(rest, per_output)
    if rest <= 0 or odd or outputs % 3 or outputs < 18:  # 3 anchors x (4 + 1 + classes)
        raise WeightsError(
            f"{path.name}: expected a darknet YOLOv3-tiny, got {numbers.size} numbers, which fit "
            "no such network; the file is cut short or of another architecture."
        )
    tensors: dict[str, Float32] = {}
    at = 0
    for conv in _YOLOV3_TINY:
        if conv.layer is None:
            at += outputs * (conv.inputs + 1)
            continue
        tensors |= _layer(conv, numbers[at : at + _size(conv)])
        at += _size(conv)
    _check(tensors, path)
    return tensors


def _size(conv: _Convolution) -> int:
    """How many numbers a normalised convolution takes."""
    return conv.outputs * (4 + conv.inputs * conv.kernel**2)


def _numbers(path: Path) -> Float32:
    """Return the float32 numbers behind the header: version, then images seen (32 or 64 bit)."""
    try:
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"{path.name}: expected a darknet YOLOv3-tiny, got over 1 GiB.")
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
    name = f"model.{conv.layer}"
    return {
        f"{name}.conv.weight": kernel,
        f"{name}.bn.weight": scale,
        f"{name}.bn.bias": bias,
        f"{name}.bn.running_mean": mean,
        f"{name}.bn.running_var": variance,
    }


def _check(tensors: dict[str, Float32], path: Path) -> None:
    """Refuse numbers that no trained network holds: a damaged header shifts them all."""
    for name, values in tensors.items():
        if not np.isfinite(values).all() or (name.endswith("running_var") and (values < 0).any()):
            raise WeightsError(
                f"{path.name}: {name} holds numbers that no trained network has; "
                "the file is damaged."
            )
