"""The methods that can be compared, by name.

Each gets the same images and the same seed, and makes its own choices on its own images.

===============  =================================================================================
name             what it is
===============  =================================================================================
fcn ...          whole-image networks of two million weights (models/baselines/networks.py)
graydet          ROI detector and 3D box detector, preset fast
graydet+refiner  the same with the refiner that did best on held-out images
paper            ROI detector and 3D box detector as in the paper, preset paper
otsu ...         a simple rule for the gray range in the ROIs that graydet's detector finds
===============  =================================================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.errors import ModelError
from napari_graydet.workflows.compare.parts import (
    check_choices,
    check_parts,
    parts_of_method,
    train_graydet,
    train_interval,
)
from napari_graydet.workflows.compare.task import Task, Trained, alone
from napari_graydet.workflows.evaluation.measuring import Cost, measured
from napari_graydet.workflows.evaluation.methods import Result
from napari_graydet.workflows.training.job import Preset

if TYPE_CHECKING:
    from napari_graydet.models.baselines.training import Baseline
    from napari_graydet.models.boxes.interval import IntervalKind

Trainer = Callable[[Task], Trained]
Check = Callable[[Task], None]


@dataclass(frozen=True)
class ComparedMethod:
    """A method that can be compared.

    Parameters
    ----------
    about
        One line for people.
    train
        Trains it.
    whole_image
        Whether it takes budgets in iterations.
    check
        Raises what can be known to be wrong before anything is trained.
    check_images
        The same of each set of training images; `check` is asked once for all of them.
    starts
        Names in `Task.starts` that it uses.
    """

    about: str
    train: Trainer
    whole_image: bool = False
    check: Check = lambda _task: None
    check_images: Check = lambda _task: None
    starts: tuple[str, ...] = ()


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
    from napari_graydet.models.baselines.training import BaselineTraining, train_baseline
    from napari_graydet.models.learning.checkpoints import Checkpoints
    from napari_graydet.models.learning.loop import Watch

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


def _whole_image(name: str, about: str) -> ComparedMethod:
    return ComparedMethod(
        about, partial(train_whole_image, name), whole_image=True, check=partial(_check_built, name)
    )


def _check_built(name: str, task: Task) -> None:
    """Build the network once: its library may be missing."""
    from napari_graydet.models.baselines.networks import build_baseline

    build_baseline(name, len(task.train.classes))


def _ours(about: str, preset: Preset, *, refine: bool = False) -> ComparedMethod:
    names = parts_of_method(refine)
    starts = tuple("pointnet" if (n, preset) == ("boxes", "paper") else n for n in names)
    return ComparedMethod(
        about,
        partial(train_graydet, preset, refine),
        check=partial(check_parts, names, preset),
        check_images=check_choices,
        starts=starts,
    )


def _rival(about: str, kind: IntervalKind) -> ComparedMethod:
    check = partial(check_parts, ("roi",), "fast")
    return ComparedMethod(
        about,
        partial(train_interval, kind),
        check=check,
        check_images=check_choices,
        starts=("roi",),
    )


METHODS: Mapping[str, ComparedMethod] = {
    "fcn": _whole_image("fcn", "fully convolutional network"),
    "unet": _whole_image("unet", "U-Net"),
    "res-unet": _whole_image("res-unet", "U-Net with residual units"),
    "unet++": _whole_image("unet++", "nested U-Net"),
    "attention-unet": _whole_image("attention-unet", "U-Net with attention gates"),
    "graydet": _ours("ROI and 3D boxes, fast", "fast"),
    "graydet+refiner": _ours("the same, refined", "fast", refine=True),
    "otsu": _rival("Otsu's threshold in the ROIs", "otsu"),
    "multi-otsu": _rival("a band of three", "multi-otsu"),
    "constant": _rival("the mean range", "constant"),
    "ridge": _rival("ridge on the histogram", "ridge"),
    "paper": _ours("ROI and 3D boxes, as in the paper", "paper"),
}
"""Every method by the name that the command line takes."""


def require_used(starts: Iterable[str], methods: Sequence[str]) -> None:
    """Refuse weights that none of the methods starts from.

    Raises
    ------
    ModelError
        If there is one.
    """
    used = {name for method in methods for name in METHODS[method].starts}
    unused = [name for name in starts if name not in used]
    if unused:
        raise ModelError(
            f"None of {', '.join(methods)} starts from {unused[0]} weights, only from: "
            f"{', '.join(sorted(used)) or 'none'}; leave them out, or compare other methods."
        )


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Check names of methods, and return them without repetitions.

    Raises
    ------
    ModelError
        If there is no method of a name, or no name.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ModelError(
            f"Expected methods among {', '.join(METHODS)}, got "
            f"{repr(unknown[0]) if unknown else 'none'}."
        )
    return tuple(dict.fromkeys(names))
