"""From a model to a weights file and back: one way, and one kind of error, for all of ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import GraydetError, WeightsError
from napari_graydet.io.weights import Tensors, WeightsCard, load_weights, save_weights


class StoredModel(ABC):
    """A model that is kept as safetensors and a card.

    Attributes
    ----------
    weights_kind
        What the card says it is.
    architectures
        Names of the networks that a file may hold.
    described
        What that is, for messages.
    classes
        Class names by id.
    """

    weights_kind: ClassVar[Literal["boxes", "refiner"]]
    architectures: ClassVar[tuple[str, ...]]
    described: ClassVar[str]
    classes: tuple[str, ...]

    @property
    def architecture(self) -> str:
        """Name of this model's network."""
        return self.architectures[0]

    @property
    def configuration(self) -> dict[str, Any]:
        """What is needed, beside the tensors, to build the model again."""
        return {}

    @abstractmethod
    def to_tensors(self) -> Tensors:
        """Return the arrays to keep, by name."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Tensors, card: WeightsCard) -> Self:
        """Build the model; what it raises becomes a `WeightsError`."""

    def save(self, path: Path, **card: Any) -> None:
        """Write tensors and card; `card` holds data, metrics, seed, versions.

        Raises
        ------
        WeightsError
            If the files cannot be written.
        """
        full = WeightsCard(
            kind=self.weights_kind,
            architecture=self.architecture,
            configuration=self.configuration,
            classes=list(self.classes),
            **card,
        )
        save_weights(path, self.to_tensors(), full)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the weights in a safetensors file, given with or without its suffix.

        Raises
        ------
        WeightsError
            If the file is damaged, of another kind or architecture, a number is not finite, or its
            tensors do not make a model.
        """
        tensors, card = load_weights(path)
        if card.kind != cls.weights_kind or card.architecture not in cls.architectures:
            raise WeightsError(
                f"Expected weights of {cls.described} in {path.name}, got {card.kind!r} "
                f"({card.architecture}); choose another file."
            )
        try:
            broken = [name for name, array in tensors.items() if not np.isfinite(array).all()]
            if broken:
                raise ValueError(f"{broken[0]} is not finite")
            return cls.from_tensors(tensors, card)
        except (LookupError, TypeError, ValueError, RuntimeError, GraydetError) as cause:
            reason = _said(cause)
            raise WeightsError(
                f"The tensors of {path.name} do not fit its card ({reason}); "
                "train again or choose another file."
            ) from cause


def _said(cause: Exception) -> str:
    """Return what is wrong in a few words; torch and Python leave torn-off messages."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    if isinstance(cause, KeyError):
        return f"there is no {lines[0] if lines else 'entry'}"
    torn = len(lines) > 1 and lines[0].endswith(":")  # Error(s) in loading state_dict for X:
    return lines[torn].rstrip(".") if lines else type(cause).__name__


def half(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as it is kept: single precision becomes half, the rest stays."""
    return array.astype(np.float16) if array.dtype == np.float32 else array
