"""Jobs of a comparison and their results, as they are kept: one JSON file a job."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_graydet.workflows.evaluation.measuring import Cost
from napari_graydet.workflows.evaluation.scoring import Row

_PLACES = 5


class Score(BaseModel):
    """Figures of one test image and label (see `workflows.scoring.Row`); None is undefined."""

    model_config = ConfigDict(extra="forbid")

    image: str
    patient: str
    label: str
    error: str | None = None
    nothing: bool = False
    iou: float | None = None
    dice: float | None = None
    fn: float | None = None
    fp: float | None = None
    hd95: float | None = None
    ceiling: float | None = None
    explained: float | None = None
    roi_iou: float | None = None
    interval_iou: float | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, row: Row, patient: str) -> Score:
        """Take over what a report says."""
        values = {name: getattr(row, name) for name in set(cls.model_fields) - {"patient"}}
        rounded = {k: round(v, _PLACES) if isinstance(v, float) else v for k, v in values.items()}
        return cls(patient=patient, **rounded)


class Job(BaseModel):
    """What is trained on what.

    Parameters
    ----------
    method
        Name among `METHODS`.
    train
        Name of the training set.
    n
        Number of training images.
    seed
        Which images they are, and of the training.
    iterations, minutes, size
        Budget and picture size, as in `Task`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    train: str
    n: int
    seed: int
    iterations: int | None = None
    minutes: float | None = None
    size: int | None = None

    @property
    def key(self) -> str:
        """Name of its result file."""
        return f"{self.train}-n{self.n}-s{self.seed}-{self.title.replace(' ', '-')}"

    @property
    def title(self) -> str:
        """Method, budget and picture size; a method's own are not named."""
        words = [self.method]
        if self.iterations is not None:
            words.append(f"{self.iterations}it")
        if self.minutes is not None:
            words.append(f"{self.minutes:g}min")
        if self.size is not None:
            words.append(f"{self.size}px")
        return " ".join(words)


class JobResult(BaseModel):
    """What came of a job.

    Parameters
    ----------
    job, data, images
        What was trained on: the job, digests of the training images and of each test set, names of
        the training images.
    scores
        Per test set, one per image and label.
    weights, steps, training, inference
        As in `Trained`; memory and time of all test images.
    starts
        Digests of the weights that were given to start from, by name, as far as the method uses
        them; None in results of before they were kept.
    device, date, versions
        Of the run.
    notes
        As in `Trained`.
    """

    model_config = ConfigDict(extra="forbid")

    job: Job
    data: dict[str, str]
    images: list[str]
    scores: dict[str, list[Score]]
    weights: int | None
    steps: dict[str, int]
    training: Cost
    inference: dict[str, Cost]
    starts: dict[str, str] | None = None
    device: str
    date: str
    versions: dict[str, str]
    notes: list[str] = []


def read_result(path: Path) -> JobResult | None:
    """Return a result, None if there is none or its file is damaged."""
    try:
        return JobResult.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def read_results(folder: Path) -> list[JobResult]:
    """Return all results of a folder, by the names of their files."""
    found = (read_result(path) for path in sorted(folder.glob("*.json")))
    return [result for result in found if result is not None]
