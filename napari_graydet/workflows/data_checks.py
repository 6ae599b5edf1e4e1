"""Data that nothing can be learned from or scored on, found out before anything starts."""

from __future__ import annotations

from napari_graydet.core.sample import SMALLEST_PIXELS, SMALLEST_SHARE
from napari_graydet.errors import DatasetError
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.events import ShouldCancel, check_cancelled


def check_readable(data: Dataset, should_cancel: ShouldCancel) -> None:
    """Read every image with its mask once.

    Raises
    ------
    ImageError, MaskError, ProjectError
        If a file cannot be read or a mask has another size.
    """
    for case in data.cases:
        check_cancelled(should_cancel)
        case.samples()


def check_data(
    train: Dataset, validation: Dataset, should_cancel: ShouldCancel, *, resumed: bool = False
) -> tuple[str, ...]:
    """Read every image once and refuse what nothing can be learned from, before anything starts.

    Returns
    -------
    tuple of str
        What the user should know, one line each: classes that no held-out image has.

    Raises
    ------
    ImageError, MaskError, ProjectError
        If a file cannot be read or a mask has another size.
    DatasetError
        If no held-out image has an object, a class is in no training image, has only parts that
        are too small to count as objects there, or its masks always cover the whole image.
    """
    whole: dict[str, list[bool]] = {}
    seen: set[str] = set()
    held_out: set[str] = set()
    objects: set[str] = set()
    for data in (train, validation):
        for case in data.cases:
            check_cancelled(should_cancel)
            for sample in case.samples():
                if sample.label in train.classes and sample.parts.any():
                    whole.setdefault(sample.label, []).append(bool(sample.parts.all()))
                    if data is validation:
                        held_out.add(sample.label)
                        continue
                    seen.add(sample.label)
                    objects |= {sample.label} if sample.rois else set()
    if missing := [label for label in train.classes if label not in seen]:
        others = ", or train without that class" if len(train.classes) > 1 else ""
        raise DatasetError(
            f"Expected every class in the training images, but none of the {len(train.cases)} has "
            f"{' or '.join(missing)}; label more images of it{others}."
        )
    if small := [label for label in train.classes if label not in objects]:
        raise DatasetError(
            f"Expected objects of at least {SMALLEST_PIXELS} pixels and {SMALLEST_SHARE:.1%} of "
            f"their image, but all parts of {' or '.join(small)} in the {len(train.cases)} "
            "training images are smaller; crop the images, or draw an ROI around each object in a "
            "project."
        )
    for label, covers in whole.items():
        if all(covers):
            raise DatasetError(
                f"All {len(covers)} masks of {label!r} cover their whole image, so there is "
                "nothing to tell it from; give masks of the object alone."
            )
    return _without(train, validation, held_out, resumed)


def _without(
    train: Dataset, validation: Dataset, held_out: set[str], resumed: bool
) -> tuple[str, ...]:
    """Name the classes by which a new model cannot be judged; refuse if that is all of them."""
    missing = [label for label in train.classes if label not in held_out]
    count = len(validation.cases)
    if not validation.cases or not missing:
        return ()
    if not held_out and not resumed:  # its images cannot be others any more
        raise DatasetError(
            "Expected an object in the held-out images, which judge the new model, but none of the "
            f"{count} has one (such as {validation.cases[0].name}); add images with objects, of "
            "other patients, or hold out others (folders: another --seed; project: delete "
            "splits.json, and train with --start shipped, since earlier models know all patients)."
        )
    return (f"No held-out image has {' or '.join(missing)}: there the new model is not judged.",)
