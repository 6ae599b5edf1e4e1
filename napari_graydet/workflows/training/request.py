"""What can be asked of a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from napari_graydet.errors import ModelError
from napari_graydet.project import splits
from napari_graydet.workflows.predict import UNLABELLED
from napari_graydet.workflows.training.job import Preset


class Budgeted(BaseModel):
    """What every training can be asked: where its randomness begins, for how long, and where.

    Parameters
    ----------
    seed
        Of everything random.
    epochs, minutes
        Passes over the data, or minutes instead; neither takes the default.
    device
        "auto", "cuda", "mps" or "cpu".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**32)
    epochs: float | None = Field(None, gt=0, allow_inf_nan=False)
    minutes: float | None = Field(None, gt=0, allow_inf_nan=False)
    device: str = "auto"

    @model_validator(mode="after")
    def _has_one_budget(self) -> Self:
        if self.epochs is not None and self.minutes is not None:
            raise ValueError("give epochs or minutes, not both")
        return self

    @classmethod
    def of(cls, **values: object) -> Self:
        """Make a request.

        Raises
        ------
        ModelError
            If the values don't go together.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = str(first["msg"]).removeprefix("Value error, ")
            if where:
                reason = f"{where}: {reason[0].lower()}{reason[1:]}, got {first['input']!r}"
            raise ModelError(f"Training: {reason}.") from error


class TrainRequest(Budgeted):
    """What to train, how and on what.

    Parameters
    ----------
    parts
        "all", or names of `parts.PARTS` with commas between them.
    preset
        "fast" or "paper" (METHOD.md, section 1).
    seed
        Of everything random, the split of folders included.
    start
        What the parts start from: "shipped", runs' ids, weights files, each for the parts that it
        fits. For all others the weights in use, else the shipped ones.
    epochs
        Passes over the training images, for each part; None takes the preset's budget.
    minutes
        Budget in minutes for all parts together, instead.
    validation
        Share of the images held out to choose when to stop; a project keeps its first split.
    device
        "auto", "cuda", "mps" or "cpu".
    classes
        Labels to learn; None learns all that are labelled.
    project
        The project to train on; or
    images, masks, label, patients
        a pair of folders, see `dataset.from_folders`; `patients` of a project is the rule that it
        keeps from this training on (`ProjectStore.set_patients`).
    """

    parts: str = "all"
    preset: Preset = "fast"
    start: tuple[str, ...] = ()
    validation: float = Field(splits.VALIDATION, gt=0, lt=1)
    classes: tuple[str, ...] | None = None
    project: str | None = None
    images: str | None = None
    masks: str | None = None
    label: str = UNLABELLED
    patients: str | None = None

    @field_validator("start", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        """Take one start as well, which is how earlier versions kept it."""
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_one_source(self) -> TrainRequest:
        if (self.project is None) == (self.images is None or self.masks is None):
            raise ValueError("give a project, or a folder of images and one of masks")
        return self

    def moved(self, change: Callable[[str], str]) -> TrainRequest:
        """Return the request with every path changed."""
        update: dict[str, object] = {}
        for name in ("project", "images", "masks"):
            if value := getattr(self, name):
                update[name] = change(value)

        def moved_file(value: str) -> str:
            """Move what is a file; these can also be something else."""
            is_file = any(Path(path).is_file() for path in (value, change(value)))
            return change(value) if is_file else value

        if self.patients is not None:
            update["patients"] = moved_file(self.patients)
        update["start"] = tuple(moved_file(start) for start in self.start)
        return self.model_copy(update=update)
