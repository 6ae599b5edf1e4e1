"""The methods that can be compared, by name.

Each gets the same images and the same seed, and makes its own choices on its own images.

===============  =================================================================================
name             what it is
===============  =================================================================================
fcn ...          whole-image networks of two million weights (models/baselines.py)
graydet          ROI detector and 3D box detector, preset fast
graydet+refiner  the same with the refiner that did best on held-out images
paper            ROI detector and 3D box detector as in the paper, preset paper
otsu ...         a simple rule for the gray range in the ROIs that graydet's detector finds
===============  =================================================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.errors import ModelError
from napari_graydet.workflows.contest_parts import train_graydet, train_interval
from napari_graydet.workflows.contest_task import Task, Trained, alone
from napari_graydet.workflows.measuring import Cost, measured
from napari_graydet.workflows.methods import Result

if TYPE_CHECKING:
    from napari_graydet.models.baseline_training import Baseline

Trainer = Callable[[Task], Trained]


@dataclass(frozen=True)
class Contestant:
    """A method that can be compared.

    Parameters
    ----------
    about
        One line for people.
    train
        Trains it.
    whole_image
        Whether it takes budgets in iterations.
    """

    about: str
    train: Trainer
    whole_image: bool = False


class WholeImage:
    """A baseline as a method: it looks at the whole image, whatever ROIs it is given."""

    def __init__(self, baseline: Baseline) -> None:
        self._baseline = baseline

    @property
    def name(self) -> str:
        """Name for tables."""
        return self._baseline.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that it knows."""
        return self._baseline.classes

    def segment(self, image: GrayImage, rois: Sequence[RoiProposal] | None = None) -> Result:
        """Segment the whole image."""
        return Result(self._baseline.segment(image))


def train_whole_image(name: str, task: Task) -> Trained:
    """Train a baseline for the task's iterations or minutes; go on where it was interrupted."""
    from napari_graydet.models.baseline_training import BaselineTraining, train_baseline
    from napari_graydet.models.checkpoints import Checkpoints
    from napari_graydet.models.training import Watch

    budget = f"{task.minutes:g}min" if task.minutes is not None else f"{task.iterations}it"
    size = task.size or BaselineTraining.size
    checkpoints = Checkpoints(task.folder / f"{name}-{budget}-{size}px")
    with alone(checkpoints.folder), measured() as cost:
        model = train_baseline(
            name,
            task.samples(),
            task.train.classes,
            seed=task.seed,
            training=BaselineTraining(task.iterations, task.minutes, size),
            device=task.device,
            watch=Watch(
                lambda at: task.step(name, at.share),
                notice=lambda message: task.tell(f"{name}: {message}", 0.0),
                checkpoints=checkpoints,
            ),
        )
        shutil.rmtree(checkpoints.folder, ignore_errors=True)
    return Trained(
        WholeImage(model),
        model.parameters,
        {name: model.steps},
        Cost(seconds=round(model.earlier_seconds, 3)) + cost,
        model.notes,
    )


def _whole_image(name: str, about: str) -> Contestant:
    return Contestant(about, partial(train_whole_image, name), whole_image=True)


CONTESTANTS: Mapping[str, Contestant] = {
    "fcn": _whole_image("fcn", "fully convolutional network"),
    "unet": _whole_image("unet", "U-Net"),
    "res-unet": _whole_image("res-unet", "U-Net with residual units"),
    "unet++": _whole_image("unet++", "nested U-Net"),
    "attention-unet": _whole_image("attention-unet", "U-Net with attention gates"),
    "graydet": Contestant("ROI and 3D boxes, fast", partial(train_graydet, "fast", False)),
    "graydet+refiner": Contestant("the same, refined", partial(train_graydet, "fast", True)),
    "otsu": Contestant("Otsu's threshold in the ROIs", partial(train_interval, "otsu")),
    "multi-otsu": Contestant("a band of three", partial(train_interval, "multi-otsu")),
    "constant": Contestant("the mean range", partial(train_interval, "constant")),
    "ridge": Contestant("ridge on the histogram", partial(train_interval, "ridge")),
    "paper": Contestant(
        "ROI and 3D boxes, as in the paper", partial(train_graydet, "paper", False)
    ),
}
"""Every method by the name that the command line takes."""


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of methods, and return them without repetitions.

    Raises
    ------
    ModelError
        If there is no method of a name, or no name.
    """
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown or not names:
        raise ModelError(
            f"Expected methods among {', '.join(CONTESTANTS)}, got "
            f"{repr(unknown[0]) if unknown else 'none'}."
        )
    return tuple(dict.fromkeys(names))
