"""Network weights: tensors as safetensors beside a JSON card that says what they are.

Nothing is ever unpickled. The card carries the SHA-256 of the tensors' file, so that damaged or
mixed-up weights are found before they are used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as parse_tensors
from safetensors.numpy import save as serialise_tensors

from napari_graydet.errors import WeightsError
from napari_graydet.io.files import atomic_write_bytes, atomic_write_text, read_bytes, reason_of
from napari_graydet.io.limits import MAX_CARD_BYTES, MAX_WEIGHTS_BYTES

Tensors = dict[str, npt.NDArray[Any]]

WeightsKind = Literal["roi", "boxes", "refiner"]
"""What weights are for: ROIs, 3D boxes, or what the boxes leave."""

KINDS: tuple[WeightsKind, ...] = get_args(WeightsKind)

SHIPPED = "shipped"
"""Name of the weights that come with the package."""

SUFFIX = ".safetensors"
_PICKLE_HEADS = (b"\x80", b"PK\x03\x04")
"""First bytes of a pickle and of PyTorch's zip around one. In a safetensors file they would be
the low bytes of the header's length; the JSON behind it tells the two apart."""


class WeightsCard(BaseModel):
    """What a weights file is, how it was made and how well it does.

    Parameters
    ----------
    kind
        "roi" (2D detector), "boxes" (detector of gray ranges), "refiner" (their residual) or
        "pointnet" (pretrained, a start for boxes).
    architecture
        Name of the network.
    configuration
        What is needed to build the network again.
    classes
        Class names; the position is the class id.
    data
        Names of the data sets it was trained on.
    metrics
        Figures on held-out images, each with a name that says which images.
    seed
        Seed of the training.
    versions
        Package versions of the training.
    sha256
        Hex digest of the safetensors file, filled in by `save_weights`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal[WeightsKind, "pointnet"]
    architecture: Annotated[str, Field(min_length=1)]
    configuration: dict[str, JsonValue] = Field(default_factory=dict)
    classes: Annotated[list[str], Field(min_length=1)]
    data: list[str] = Field(default_factory=list)
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    @property
    def is_of_use(self) -> bool:
        """False for a refiner without which held-out images did better (its "chosen" is "none")."""
        return self.metrics.get("chosen") != "none"


def save_weights(path: Path, tensors: Mapping[str, npt.NDArray[Any]], card: WeightsCard) -> None:
    """Write ``<name>.safetensors`` and its card ``<name>.json``, each atomically.

    Parameters
    ----------
    path
        Where the tensors go, with or without the suffix ``.safetensors``.
    tensors
        Arrays by name; any shape, a dtype that safetensors knows (float16/32/64, integers, bool).
    card
        Description; its `sha256` is replaced by that of the file.

    Raises
    ------
    WeightsError
        If there are no tensors, a dtype is unknown, or the files cannot be written.
    """
    path = weights_file(path)
    if not tensors:
        raise WeightsError(f"Expected at least one tensor for {path.name}, got none.")
    try:
        data = serialise_tensors({name: _native(array) for name, array in tensors.items()})
    except (SafetensorError, KeyError, TypeError, ValueError) as cause:
        raise WeightsError(
            f"The tensors for {path.name} cannot be stored ({reason_of(cause)}); "
            "use numpy arrays of floats, integers or bool."
        ) from cause
    card = card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    atomic_write_bytes(path, data, error=WeightsError)
    atomic_write_text(card_path(path), card.model_dump_json(indent=2) + "\n", error=WeightsError)


def load_weights(path: Path) -> tuple[Tensors, WeightsCard]:
    """Read weights and their card, and verify that they belong together.

    Parameters
    ----------
    path
        The safetensors file, with or without its suffix.

    Returns
    -------
    tensors
        Arrays by name.
    card
        The description.

    Raises
    ------
    WeightsError
        If a file is missing, damaged, not safetensors, too large, or has another SHA-256 than its
        card says.
    """
    path = weights_file(path)
    data = read_bytes(
        path, max_bytes=MAX_WEIGHTS_BYTES, error=WeightsError, limit_error=WeightsError
    )
    if data.startswith(_PICKLE_HEADS) and data[8:9] != b"{":
        raise WeightsError(
            f"{path.name} is a pickle (.pt, .pth), not safetensors; pickles can run code and are "
            "never loaded, ask its author for safetensors."
        )
    card = read_card(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != card.sha256:
        raise WeightsError(
            f"{path.name} has SHA-256 {digest[:12]}..., its card says "
            f"{card.sha256[:12] or 'nothing'}...; it is damaged or belongs to another card, "
            "copy both files again."
        )
    try:
        return parse_tensors(data), card
    except (SafetensorError, KeyError, TypeError, ValueError, MemoryError) as cause:
        raise WeightsError(
            f"{path.name} is not a safetensors file ({reason_of(cause)}); copy it again."
        ) from cause


def read_card(path: Path) -> WeightsCard:
    """Read only the card of a weights file (cheap, for lists); the tensors are not verified.

    Raises
    ------
    WeightsError
        If the card is missing, damaged, or not one.
    """
    path = weights_file(path)
    card = card_path(path)
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}; check its name.")
    if not card.exists():
        raise WeightsError(f"{path.name} has no card beside it ({card.name}); copy both files.")
    text = read_bytes(card, max_bytes=MAX_CARD_BYTES, error=WeightsError, limit_error=WeightsError)
    try:
        return WeightsCard.model_validate_json(text)
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise WeightsError(
            f"{card.name} is not a card of weights ({where}: {first['msg']}); copy it again."
        ) from cause


def check_kind(card: WeightsCard, kind: WeightsKind, path: Path) -> None:
    """Raise `WeightsError` if the card of `path` is not of this kind."""
    if card.kind != kind:
        raise WeightsError(
            f"{path.name} holds a {card.kind} model, expected {kind!r}; choose another file."
        )


def card_path(path: Path) -> Path:
    """Return the name of the card of a weights file."""
    return weights_file(path).with_suffix(".json")


def _native(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array row-major in this machine's byte order, which safetensors takes as given."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def weights_file(path: Path) -> Path:
    """Return the name with ``.safetensors``; dots inside of a name (v1.2) are kept."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
