"""Many image files -> masks and JSON records as files, without a project."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_graydet.errors import ExportError, GraydetError, ImageError
from napari_graydet.io.files import atomic_write_text, sha256_of
from napari_graydet.io.images import find_images
from napari_graydet.io.masks import write_mask
from napari_graydet.workflows.events import (
    IMAGE_ERRORS,
    Failure,
    OnProgress,
    Progress,
    ignore_progress,
    one_line,
)
from napari_graydet.workflows.names import distinct_names, keep_images, keep_masks
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.records import ImageRecord, read_record
from napari_graydet.workflows.segment import segment


@dataclass(frozen=True)
class Segmented:
    """One image that is done: its record, the two files, the mask's size. Not the pixels."""

    record: ImageRecord
    mask_file: Path
    record_file: Path
    mask_pixels: int

    def summary(self) -> dict[str, Any]:
        """Return the record, with the files' names and the mask's size, as plain JSON types."""
        files = {"mask_file": self.mask_file.name, "record_file": self.record_file.name}
        return self.record.document() | files | {"mask_pixels": self.mask_pixels}


@dataclass
class SegmentReport:
    """The images that are done and those that failed, in the order given."""

    done: list[Segmented] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def segment_files(
    inputs: Sequence[Path],
    out: Path,
    *,
    predictor: Predictor,
    on_notice: Callable[[str], None],
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> SegmentReport:
    """Segment files and folders of files into ``OUT/<stem>.png`` and ``OUT/<stem>.json``.

    A bad image is reported and the others are done.

    Parameters
    ----------
    inputs
        Images and folders; a folder stands for the images in it.
    out
        Folder for the results; made if missing. Results of earlier runs on the same images are
        replaced, each in one step.
    predictor
        The detectors; loaded only if ROIs or ranges are to be detected.
    on_notice, on_progress
        Called with each notice or failure, and after each image.
    options
        As for `segment`.

    Raises
    ------
    ImageError
        If there is no input, or a folder holds no image.
    ExportError
        If `out` cannot be made, or a result would take the place of an input, of a mask that a
        person made or changed, or of the result of another image.
    WeightsError, ModelError
        If a detector is needed and cannot be loaded.
    """
    paths = expand(inputs)
    targets = [out / name for name in distinct_names(paths)]
    _protect(paths, targets)
    _make_folder(out)
    _load(predictor, options)
    report = SegmentReport()
    for done, (path, target) in enumerate(zip(paths, targets, strict=True), start=1):
        try:
            result = _one(path, target, predictor, options)
        except IMAGE_ERRORS as error:
            report.failed.append(Failure(path.name, one_line(error)))
            on_notice(_named(path, one_line(error)))
        else:
            report.done.append(result)
            for notice in result.record.notices:
                on_notice(_named(path, notice))
        on_progress(Progress(done, len(paths), path.name))
    return report


def expand(inputs: Sequence[Path]) -> list[Path]:
    """Return the image files that the inputs name, each once, in order."""
    found: dict[Path, Path] = {}
    for path in inputs:
        for image in find_images(path) if path.is_dir() else [path]:
            found.setdefault(Path(os.path.realpath(image)), image)  # a link may lead in a circle
    if not found:
        raise ImageError("Expected at least one image or folder of images, got none.")
    return list(found.values())


def _protect(paths: Sequence[Path], targets: Sequence[Path]) -> None:
    """Raise `ExportError` if a result would take the place of anything but an older one of it."""
    files = [_files_of(target) for target in targets]
    masks = [mask for mask, _ in files]
    keep_images(masks, paths)
    keep_masks(masks)
    for path, (mask, record) in zip(paths, files, strict=True):
        if record.exists():
            _check_record(record, path)
        elif mask.exists():
            raise ExportError(
                f"{mask} is there already, and no result of this command: it has no record "
                f"({record.name}) beside it; give another folder with -o."
            )


def _check_record(record: Path, image: Path) -> None:
    """Raise `ExportError` unless a file is the record of this very image."""
    try:
        known = read_record(record)
    except GraydetError as error:
        raise ExportError(
            f"{record} is there already and no result of this program ({one_line(error)}); give "
            "another folder with -o."
        ) from error
    try:
        another = known.sha256 != sha256_of(image)
    except ImageError:
        return  # it cannot be read, and will be told of with the others
    if another:
        raise ExportError(
            f"{record} is the result of another image of that name, or of this one before it "
            "changed; give another folder with -o, or delete it."
        )


def _files_of(target: Path) -> tuple[Path, Path]:
    """Return the files of mask and record."""
    return target.with_name(f"{target.name}.png"), target.with_name(f"{target.name}.json")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"Cannot make the folder {out}: {error.strerror}; choose another with -o."
        ) from error


def _load(predictor: Predictor, options: dict[str, Any]) -> None:
    """Load what will be needed, so that bad weights are one error and not one per image."""
    if options.get("roi") is None:
        _ = predictor.roi_detector
    if options.get("gray_range") is None:
        _ = predictor.box_detector
    _ = predictor.refiner


def _one(path: Path, target: Path, predictor: Predictor, options: dict[str, Any]) -> Segmented:
    result = segment(path, predictor=predictor, **options)
    record = result.record()
    mask_file, record_file = _files_of(target)
    there = mask_file.exists()
    write_mask(mask_file, result.mask_image(), signed=True)
    try:
        atomic_write_text(record_file, record.text())
    except ExportError:  # a mask without its record would be half a result
        if not there:
            mask_file.unlink(missing_ok=True)
        raise
    return Segmented(record, mask_file, record_file, int(result.mask.sum()))


def _named(path: Path, message: str) -> str:
    """Put the image's name before a message that does not have it."""
    return message if path.name in message else f"{path.name}: {message}"
