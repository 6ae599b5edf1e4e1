"""Images with true masks, from a pair of folders or from a project: what is trained and scored on.

A dataset is a snapshot: it knows the SHA-256 of every image and mask, and holds the records of a
project as they were when it was made. Pixels are read when a case is asked for them, so that a
damaged file befalls its own case only.

Rules for masks: a pixel that is not 0 is true (`io.masks.read_mask`). An empty mask is no error,
it means "nothing here"; nor is one that covers the whole image, its ROI is the whole image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.sample import Sample, connected_parts
from napari_graydet.errors import DatasetError, ImageError, MaskError, ProjectError
from napari_graydet.io.files import sha256_of
from napari_graydet.io.images import find_images, read_image
from napari_graydet.io.masks import read_label_map, read_mask
from napari_graydet.project.patients import people
from napari_graydet.project.schema import Annotation, State
from napari_graydet.workflows.events import one_line
from napari_graydet.workflows.patients import Patients, patients_of
from napari_graydet.workflows.predict import UNLABELLED
from napari_graydet.workflows.project_images import read_unchanged
from napari_graydet.workflows.training.roi_parts import AnnotatedSample, parts_of_rois

if TYPE_CHECKING:
    from napari_graydet.project.store import ProjectStore

FOLDERS, PROJECT = "folders", "project"
"""`Sample.kind` of what this module reads."""


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its truth, read when asked for.

    Parameters
    ----------
    name
        Unique in its dataset: the file's stem, or the path in its project.
    patient
        Cases of one patient never stand on both sides of a split.
    digest
        SHA-256 over the image's bytes and its labels.
    load
        Reads the samples.
    folders
        Where its files lie; `told` keeps this out of reports.
    revision
        Of the record that it was made of; None outside of projects.
    labels
        What is labelled in it; None if that is not known without reading it.
    """

    name: str
    patient: str
    digest: str
    load: Callable[[], list[Sample]]
    folders: tuple[Path, ...] = ()
    revision: int | None = None
    labels: frozenset[str] | None = None

    def samples(self) -> list[Sample]:
        """Read image and truth: one sample per class of the dataset, empty masks included.

        Raises
        ------
        ImageError, LimitError
            If the image cannot be read.
        MaskError
            If the mask cannot be read, or has another size.
        ProjectError
            If the image changed since it was annotated.
        """
        return self.load()

    def told(self, error: BaseException) -> str:
        """Return an error as one line for a report: files by name, without their folders."""
        message = one_line(error)
        for folder in self.folders:
            message = message.replace(f"{folder}{os.sep}", "")
        return message


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cases in a fixed order, and the classes that are labelled in them.

    Parameters
    ----------
    cases
        The images.
    classes
        Names of the classes; every case has a sample of each.
    notices
        What the user should know, one line each.
    others
        Patients of the project's other images by name, which are no cases (now).
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    notices: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over images, labels and classes: the same data give the same, in any order."""
        lines = [*self.classes, *sorted(case.digest for case in self.cases)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def patients(self) -> dict[str, str]:
        """Patient of each case by name: what `project.splits` divides."""
        return {case.name: case.patient for case in self.cases}

    def subset(self, names: Iterable[str]) -> Dataset:
        """Return the dataset of these cases only, in the order of this one.

        Raises
        ------
        DatasetError
            If there is no case of a name.
        """
        wanted = set(names)
        cases = tuple(case for case in self.cases if case.name in wanted)
        if missing := sorted(wanted - {case.name for case in cases}):
            raise DatasetError(
                f"The dataset of {len(self.cases)} images has none named {missing[0]}; "
                "it was split before an image was taken away or renamed."
            )
        return replace(self, cases=cases)


def check_class_name(name: str) -> None:
    """Raise `DatasetError` for a name that no option could ever name again."""
    if not name.strip() or "," in name or not name.isprintable():
        raise DatasetError(f"Expected a class name without commas, got {name!r}; give another one.")


# --- a pair of folders --------------------------------------------------------------------------


def from_folders(
    images: Path,
    masks: Path,
    *,
    label: str = UNLABELLED,
    classes: Sequence[str] | None = None,
    patients: Patients = None,
) -> Dataset:
    """Make a dataset of a folder of images and a folder of masks with the same stems.

    Every connected part of a mask is an object with an ROI of its own. Images without a mask, and
    masks without an image, are left out and counted in a notice.

    Parameters
    ----------
    images, masks
        The folders; subfolders are not searched.
    label
        Class of the masks.
    classes
        Instead of `label`: the masks hold label ids, and id i stands for the i-th class (from 1).
    patients
        A CSV file of stem and patient (`Path`), a regular expression with one group that finds the
        patient in the stem (`str`), or None: each image is a patient of its own, the same bytes
        under two names being one.

    Raises
    ------
    ImageError
        If a folder cannot be listed or has no image.
    DatasetError
        If no mask has the stem of an image, two files share one stem, both folders are the same,
        or the patients cannot be told.
    """
    images, masks = Path(images), Path(masks)
    if images.resolve() == masks.resolve():
        raise DatasetError(
            f"Expected images and masks in two folders, got {images} for both; give the masks' own."
        )
    image_files, mask_files = _by_stem(images), _by_stem(masks)
    stems = [stem for stem in image_files if stem in mask_files]
    if not stems:
        raise DatasetError(
            f"None of the {len(mask_files)} masks in {masks} has the stem of one of the "
            f"{len(image_files)} images in {images} (such as {next(iter(image_files))}); "
            "name each mask as its image."
        )
    names = tuple(classes or (label,))
    for name in names:
        check_class_name(name)
    hashes = {stem: sha256_of(image_files[stem]) for stem in stems}
    owners = patients_of(hashes, patients)
    cases = []
    for stem in stems:
        image, mask = image_files[stem], mask_files[stem]
        pair = _Pair(image, mask, hashes[stem], sha256_of(mask, error=MaskError))
        load = partial(_read_pair, stem, pair, names, classes is not None)
        digest = _digest(pair.image_sha256, pair.mask_sha256)
        cases.append(Case(stem, owners[stem], digest, load, (images, masks)))
    return Dataset(tuple(cases), names, _left_out(image_files, mask_files))


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in find_images(folder):
        if path.stem in found:
            raise DatasetError(
                f"{found[path.stem].name} and {path.name} in {folder} have the same stem, so "
                "image and mask cannot be told to belong together; rename one."
            )
        found[path.stem] = path
    return found


def _left_out(images: Mapping[str, Path], masks: Mapping[str, Path]) -> tuple[str, ...]:
    alone = (
        (sorted(images.keys() - masks.keys()), "images have no mask"),
        (sorted(masks.keys() - images.keys()), "masks have no image"),
    )
    return tuple(
        f"{len(stems)} {what} and are left out, such as {stems[0]}."
        for stems, what in alone
        if stems
    )


@dataclass(frozen=True)
class _Pair:
    """The files of an image and its mask, and what was in them when the dataset was made."""

    image: Path
    mask: Path
    image_sha256: str
    mask_sha256: str

    def read(self) -> tuple[GrayImage, Path]:
        """Return the image, and its mask's file; both are still what they were.

        Raises
        ------
        ImageError, MaskError
            If not, or the image cannot be read.
        """
        image = read_image(self.image)
        if image.sha256 != self.image_sha256:
            raise ImageError(_changed(self.image))
        if sha256_of(self.mask, error=MaskError) != self.mask_sha256:
            raise MaskError(_changed(self.mask))
        return image, self.mask


def _changed(file: Path) -> str:
    return f"{file.name} changed since its folder was read; put it back, or start again."


def _read_pair(stem: str, pair: _Pair, classes: Sequence[str], ids: bool) -> list[Sample]:
    image, mask_file = pair.read()
    if not ids:
        mask = read_mask(mask_file, image.shape)
        return [Sample(image, classes[0], connected_parts(mask), FOLDERS, stem)]
    labels = read_label_map(mask_file, image.shape)
    if labels.max() > len(classes):
        raise MaskError(
            f"{mask_file.name} has the label id {labels.max()}, expected 0 to {len(classes)} "
            f"({', '.join(classes)}); name every class."
        )
    return [
        Sample(image, name, connected_parts(labels == number), FOLDERS, stem)
        for number, name in enumerate(classes, start=1)
    ]


# --- a project ----------------------------------------------------------------------------------


def from_project(store: ProjectStore, *, present: bool = False) -> Dataset:
    """Make a dataset of the accepted images of a project.

    The truth is what was accepted: masks rendered from the records, and the ROIs of the records.
    Classes are those that occur in an accepted image, in the project's order; an accepted image
    without one of them says that there is none. Patients are those of the project's rule, called
    by their first image; without a rule each image is a patient of its own, the same bytes under
    two names as one.

    Parameters
    ----------
    store
        The project.
    present
        Whether images whose file is not there are left out, and counted in a notice.

    Raises
    ------
    DatasetError
        If nothing is accepted yet, or only images with nothing in them, or the project's rule of
        patients cannot be read or misses an accepted image.
    ProjectError, DamagedProjectError
        If the project cannot be read.
    """
    everything = store.entries()
    entries = [entry for entry in everything if entry.state is State.ACCEPTED]
    gone = [e for e in entries if present and not store.image_path(e.id).exists()]
    missing = {entry.id for entry in gone}
    entries = [entry for entry in entries if entry.id not in missing]
    if gone and not entries:
        raise DatasetError(
            f"None of the {len(gone)} accepted images is there (such as {gone[0].path}); bring "
            "them back, or connect the drive they are on."
        )
    if not entries:
        raise DatasetError(
            "Expected accepted images in the project, there is none; accept some first."
        )
    records = {entry.path: store.annotation(entry.id)[0] for entry in entries}
    used = {label for record in records.values() for label in _labels(record)}
    classes = tuple(name for name in store.classes if name in used)
    if not classes:
        raise DatasetError(
            f"Nothing is labelled in any of the {len(entries)} accepted images of the project; "
            "accept images with objects in them."
        )
    store.patients.require(entries)
    others = people(everything)
    cases = []
    for entry in entries:
        record, path = records[entry.path], store.image_path(entry.id)
        load = partial(_read_accepted, entry.path, path, entry.sha256, record, classes)
        digest = _digest(entry.sha256, record.model_dump_json(exclude={"state"}))
        patient = others.pop(entry.path)
        folders, labels = (path.parent,), frozenset(_labels(record))
        cases.append(Case(entry.path, patient, digest, load, folders, entry.revision, labels))
    absent = [name for name in store.classes if name not in used]
    notices = [f"No accepted image has {' or '.join(absent)}; left out."] if absent else []
    if gone:
        notices.append(
            f"{len(gone)} accepted image{'s are' if len(gone) > 1 else ' is'} not there and left "
            f"out, such as {gone[0].path}; bring {'them' if len(gone) > 1 else 'it'} back, or "
            f"reject {'them' if len(gone) > 1 else 'it'}."
        )
    return Dataset(tuple(cases), classes, tuple(notices), others)


def _labels(record: Annotation) -> set[str]:
    return {*record.labels, *(roi.label for roi in record.rois)}


def _read_accepted(
    name: str, path: Path, sha256: str, record: Annotation, classes: Sequence[str]
) -> list[Sample]:
    image = read_unchanged(path, sha256)
    if image.shape != record.shape:
        raise ProjectError(
            f"{image.name} is {image.width} x {image.height} pixels, but was annotated at "
            f"{record.width} x {record.height}; put the original image back."
        )
    samples: list[Sample] = []
    for label in classes:
        mask = record.mask(image.pixels, label)
        rois = [roi.roi_box.clip(image.shape) for roi in record.rois if roi.label == label]
        rois = [roi for roi in rois if mask[roi.slices(image.shape)].any()]
        if rois:
            drawn = dict(enumerate(rois, start=1))
            samples.append(
                AnnotatedSample(image, label, parts_of_rois(mask, rois), PROJECT, name, drawn)
            )
        else:  # painted without any ROI, or nothing at all
            samples.append(Sample(image, label, connected_parts(mask), PROJECT, name))
    return samples


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
