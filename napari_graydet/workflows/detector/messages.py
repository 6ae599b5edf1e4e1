"""What a window and its detector process say to each other over pipes: JSON lines and pixels.

A message is one line of JSON. Only a message with an image is followed by bytes: the pixels, as
many as its shape and type take. Nothing is pickled, so neither side can make the other run code.
"""

from __future__ import annotations

import dataclasses
import json
from typing import IO, Any

import numpy as np

from napari_graydet import errors
from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Residual
from napari_graydet.errors import GraydetError, ModelError
from napari_graydet.workflows.events import one_line

Message = dict[str, Any]


def message_bytes(message: Message) -> bytes:
    """Return a message as one line."""
    return json.dumps(message).encode() + b"\n"


def read_message(stream: IO[bytes]) -> Message | None:
    """Return the next message of a stream, None at its end.

    The pixels that follow a message with an image stand under its key "image".
    """
    line = stream.readline()
    if not line.endswith(b"\n"):  # the end, also in the middle of a message
        return None
    message: Message = json.loads(line)
    if "shape" in message:
        shape, dtype = tuple(message["shape"]), np.dtype(message["dtype"])
        size = int(np.prod(shape)) * dtype.itemsize
        data = stream.read(size)
        if len(data) < size:
            return None
        scale = GrayScale(**message["scale"])
        pixels = np.frombuffer(data, dtype).reshape(shape)
        message["image"] = GrayImage(pixels, scale, name=message["name"])
    return message


def image_bytes(image: GrayImage) -> bytes:
    """Return an image as a message with its pixels; detectors need no more of it."""
    pixels = np.ascontiguousarray(image.pixels)
    head = message_bytes(
        {
            "ask": "look",
            "shape": pixels.shape,
            "dtype": pixels.dtype.str,
            "scale": dataclasses.asdict(image.scale),
            "name": image.name,
        }
    )
    return head + pixels.tobytes()


def roi_message(proposal: RoiProposal) -> Message:
    """Return a proposed ROI in JSON types; floats come back bit for bit."""
    return {"roi": proposal.roi.xyxy, "label": proposal.label, "score": proposal.score}


def roi_of(message: Message) -> RoiProposal:
    """Return the ROI of a message."""
    return RoiProposal(RoiBox(*message["roi"]), message["label"], message["score"])


def box_message(proposal: BoxProposal) -> Message:
    """Return a proposed box in JSON types; floats come back bit for bit."""
    box = proposal.box
    return {
        "roi": box.roi.xyxy,
        "low": box.low.tolist(),
        "high": box.high.tolist(),
        "label": proposal.label,
        "score": proposal.score,
        "margin": proposal.margin,
        "spread": proposal.spread,
        "drawn": proposal.drawn,
    }


def box_of(message: Message) -> BoxProposal:
    """Return the box of a message."""
    nets = (np.array(message[name], dtype=np.float64) for name in ("low", "high"))
    about = (message[name] for name in ("score", "margin", "spread", "drawn"))
    return BoxProposal(GrayBox(RoiBox(*message["roi"]), *nets), message["label"], *about)


def residual_message(residual: Residual) -> Message:
    """Return a residual in JSON types."""
    return {"added": residual.added, "erased": residual.erased}


def residual_of(message: Message) -> Residual:
    """Return the residual of a message."""
    added, erased = (tuple((int(a), int(n)) for a, n in message[k]) for k in ("added", "erased"))
    return Residual(added, erased)


def error_message(error: Exception) -> Message:
    """Return an error as a message: its name if it is of our own tree, and one line."""
    if isinstance(error, GraydetError):
        return {"error": type(error).__name__, "message": one_line(error)}
    text = f"Detection failed: {type(error).__name__}, {one_line(error)}"
    return {"error": ModelError.__name__, "message": text}


def error_of(message: Message) -> GraydetError:
    """Return the error of a message."""
    kind = getattr(errors, message["error"], ModelError)
    if not (isinstance(kind, type) and issubclass(kind, GraydetError)):
        kind = ModelError
    return kind(message["message"])
