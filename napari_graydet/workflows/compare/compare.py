"""Methods against each other: trained on the same images, scored on the same others.

A comparison is a series of small jobs (method, seed, number of training images, budget). The result
of each is one JSON file, written when the job is done; a job whose file is there is not done again,
so that a long series can be computed in pieces, stopped, and gone on with; what was in training
goes on from its last checkpoint. Training images for a smaller number are among those for a larger
one of the same seed, whole patients first; test images are the same for all jobs, and never of a
patient that anything is trained on.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import DatasetError, ExportError, ModelError, WeightsError
from napari_graydet.io.files import atomic_write_text, sha256_of
from napari_graydet.project import splits
from napari_graydet.workflows.compare.masks import (
    Masks,
    key_of,
    pictured,
    read_masks,
    write_masks,
)
from napari_graydet.workflows.compare.methods import METHODS, ComparedMethod, chosen
from napari_graydet.workflows.compare.results import (
    Job,
    JobResult,
    Score,
    read_result,
    read_results,
)
from napari_graydet.workflows.compare.task import Task, Tell, ignore_step
from napari_graydet.workflows.data_checks import check_data, check_readable
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.evaluation.evaluate import evaluate
from napari_graydet.workflows.evaluation.measuring import measured
from napari_graydet.workflows.evaluation.methods import Method
from napari_graydet.workflows.events import (
    ShouldCancel,
    check_cancelled,
    never_cancel,
)

ITERATIONS = 1000
"""Steps of a whole-image network unless told otherwise."""


OnJob = Callable[[int, int, str, float], None]
"""Called with finished jobs, all jobs, what is being done, and the share of it that is done."""


def _ignore(done: int, jobs: int, what: str, share: float) -> None:
    """Take progress and do nothing."""


@dataclass(frozen=True)
class Series:
    """A training set, its test sets, and where results are kept.

    Parameters
    ----------
    name
        Of the training set.
    pool
        Images to train on; the jobs say how many.
    tests
        Test sets by name.
    results
        Folder of the results, one JSON file a job.
    work
        Folder of what is made on the way: trained parts, and masks of some test images.
    device
        "auto", "cuda", "mps" or "cpu".
    starts
        As in `Task`.

    Raises
    ------
    DatasetError
        If a patient is on both sides, or there is nothing on one.
    """

    name: str
    pool: Dataset
    tests: Mapping[str, Dataset]
    results: Path
    work: Path
    device: str = "auto"
    starts: Mapping[str, Path | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        learned = {case.patient for case in self.pool.cases}
        for name, test in self.tests.items():
            if not test.cases or not self.pool.cases:
                raise DatasetError(
                    f"Expected images to train on and to test on ({name}), got none."
                )
            both = sorted(learned & {case.patient for case in test.cases})
            if both:
                raise DatasetError(
                    f"Patient {both[0]} is among the training and the test images ({name}); "
                    "split by patient."
                )

    def training_names(self, n: int, seed: int) -> tuple[str, ...]:
        """Return the first `n` images in the order of patients that a seed gives.

        Raises
        ------
        DatasetError
            If there are not so many.
        """
        if not 1 <= n <= len(self.pool.cases):
            raise DatasetError(
                f"Expected between 1 and {len(self.pool.cases)} training images, got {n}."
            )
        ordered = sorted(
            self.pool.cases,
            key=lambda case: (
                hashlib.sha256(f"{seed}:{case.patient}".encode()).digest(),
                case.name,
            ),
        )
        return tuple(case.name for case in ordered[:n])

    def finished(self) -> list[JobResult]:
        """Return the results in the folder that are of this training set and these test sets."""
        digests = {name: test.digest for name, test in self.tests.items()}
        return [
            result
            for result in read_results(self.results)
            if result.job.train == self.name
            and {name: result.data.get(name) for name in result.scores} == digests
        ]

    def kept_masks(self) -> dict[str, Masks]:
        """Return the masks that are kept of the finished jobs: the first one of each method."""
        found: dict[str, Masks] = {}
        for result in self.finished():
            masks = read_masks(self.masks_path(result.job))
            if masks is not None:
                found.setdefault(result.job.title, masks)
        return found

    def result_path(self, job: Job) -> Path:
        """Return where the result of a job is kept."""
        return self.results / f"{job.key}.json"

    def masks_path(self, job: Job) -> Path:
        """Return where a job's masks of some test images are kept."""
        return self.work / "masks" / f"{job.key}.npz"


def divided(data: Dataset, test: float) -> tuple[Dataset, Dataset]:
    """Divide a dataset into images to train on and to test on, by patient, always in the same way.

    Raises
    ------
    DatasetError
        If the share is not between 0 and 1, or there are too few patients.
    """
    split = splits.by_patient(data.patients, seed=0, validation=0.0, test=test)
    return data.subset(split.train), data.subset(split.side("test"))


def jobs_of(
    methods: Sequence[str],
    *,
    train: str,
    numbers: Sequence[int],
    seeds: Sequence[int],
    iterations: int | None = None,
    minutes: float | None = None,
    size: int | None = None,
) -> list[Job]:
    """Return the jobs of all methods, numbers of training images and seeds.

    Parameters
    ----------
    methods, train, numbers, seeds
        What to do; see `Job`.
    iterations, minutes
        Budget: iterations for the whole-image networks (`ITERATIONS` if neither is given), or
        minutes for every method.
    size
        Side of the whole-image networks' pictures, pixels; None is their default.

    Raises
    ------
    ModelError
        If there is no such method, or both budgets are given.
    """
    if iterations is not None and minutes is not None:
        raise ModelError("Expected a budget of either iterations or minutes, got both.")
    if iterations is None and minutes is None:
        iterations = ITERATIONS
    return [
        Job(
            method=name,
            train=train,
            n=n,
            seed=seed,
            iterations=iterations if METHODS[name].whole_image else None,
            minutes=minutes,
            size=size if METHODS[name].whole_image else None,
        )
        for n in numbers
        for seed in seeds
        for name in chosen(methods)
    ]


# --- Doing jobs ---------------------------------------------------------------------------------


def run_jobs(
    series: Series,
    jobs: Sequence[Job],
    *,
    methods: Mapping[str, ComparedMethod] = METHODS,
    on_job: OnJob = _ignore,
    should_cancel: ShouldCancel = never_cancel,
) -> list[JobResult]:
    """Do the jobs that are not done yet, and return the results of all.

    Parameters
    ----------
    series, jobs
        What to do.
    methods
        Methods by name.
    on_job
        Told of the progress.
    should_cancel
        Asked between steps; what is finished is kept.

    Raises
    ------
    DatasetError
        If results of other images lie in the folder, or there are too few images.
    WeightsError
        If a start is not there.
    ImageError, MaskError, ProjectError
        If an image or mask cannot be read, or has another size.
    ModelError
        If a method cannot be trained.
    ExportError
        If a result cannot be written.
    CancelledError
        If the user stopped.
    """
    _check(series, jobs, methods, should_cancel)
    results = []
    for done, job in enumerate(jobs):
        check_cancelled(should_cancel)

        def tell(what: str, share: float, done: int = done, key: str = job.key) -> None:
            on_job(done, len(jobs), f"{key}: {what}", share)

        result = read_result(series.result_path(job))
        if result is None:
            result = _run(series, job, methods[job.method], tell, should_cancel)
            text = result.model_dump_json() + "\n"
            atomic_write_text(series.result_path(job), text, error=ExportError)
        results.append(result)
        on_job(done + 1, len(jobs), job.key, 0.0)
    return results


def _check(
    series: Series,
    jobs: Sequence[Job],
    methods: Mapping[str, ComparedMethod],
    should_cancel: ShouldCancel,
) -> None:
    """Find out what is wrong with images, starts and methods before anything is trained."""
    learned = {(job.n, job.seed): series.training_names(job.n, job.seed) for job in jobs}
    open_jobs = []
    for job in jobs:
        result = read_result(series.result_path(job))
        if result is None:
            open_jobs.append(job)
        else:
            _check_same(series, job, methods[job.method], result)
    if not open_jobs:
        return
    for names in set(learned.values()):
        train = series.pool.subset(names)
        check_data(train, train.subset(()), should_cancel)
    for test in series.tests.values():
        check_readable(test, should_cancel)
    asked: set[str] = set()
    for job in open_jobs:
        task, method = _task(series, job, ignore_step, should_cancel), methods[job.method]
        method.check_images(task)
        if job.method not in asked:
            method.check(task)
        asked.add(job.method)


def _check_same(series: Series, job: Job, method: ComparedMethod, result: JobResult) -> None:
    """Refuse a result that is there already, but of something else."""
    path = series.result_path(job)
    if result.data != _digests(series, job):
        raise DatasetError(
            f"{path} is the result of other images or masks; choose another folder, or delete it."
        )
    if result.starts not in (None, _starts(series, method)):
        raise DatasetError(
            f"{path} is the result of a training from other weights; give the same --start, choose "
            "another folder, or delete it."
        )


def _starts(series: Series, method: ComparedMethod) -> dict[str, str]:
    """Return the digests of the given weights that a method starts from."""
    used = {name: path for name, path in series.starts.items() if name in method.starts}
    return {
        name: "" if path is None else sha256_of(path, error=WeightsError)
        for name, path in used.items()
    }


def _digests(series: Series, job: Job) -> dict[str, str]:
    learned = series.pool.subset(series.training_names(job.n, job.seed))
    return {"train": learned.digest, **{name: d.digest for name, d in series.tests.items()}}


def _run(
    series: Series,
    job: Job,
    method: ComparedMethod,
    tell: Tell,
    should_cancel: ShouldCancel,
) -> JobResult:
    from napari_graydet.models.device import choose_device

    device = choose_device(series.device).type
    data, names = _digests(series, job), series.training_names(job.n, job.seed)
    task = _task(series, job, tell, should_cancel)
    trained = method.train(task)
    scores, inference, masks = {}, {}, Masks()
    for name, test in series.tests.items():
        with measured() as inference[name]:
            scores[name] = _tested(trained.method, name, test, task, masks)
    write_masks(series.masks_path(job), masks)
    return JobResult(
        job=job,
        data=data,
        images=list(names),
        scores=scores,
        weights=trained.weights,
        steps=dict(trained.steps),
        training=trained.cost,
        inference=inference,
        starts=_starts(series, method),
        device=device,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        versions={name: version(name) for name in ("napari-graydet", "torch", "numpy")},
        notes=list(trained.notes),
    )


def _task(series: Series, job: Job, tell: Tell, should_cancel: ShouldCancel) -> Task:
    train = series.pool.subset(series.training_names(job.n, job.seed))
    return Task(
        train=train,
        seed=job.seed,
        folder=series.work / _parts_name(job, train.digest),
        iterations=job.iterations,
        size=job.size,
        minutes=job.minutes,
        device=series.device,
        starts=series.starts,
        tell=tell,
        should_cancel=should_cancel,
    )


def _parts_name(job: Job, digest: str) -> str:
    """Name the folder of trained parts: of the same images, seed and time."""
    minutes = "" if job.minutes is None else f"-{job.minutes:g}min"
    return f"{job.train}-n{job.n}-s{job.seed}{minutes}-{digest[:8]}"


def _tested(method: Method, name: str, test: Dataset, task: Task, masks: Masks) -> list[Score]:
    """Score a method on a test set, and keep the masks of the pictured images."""
    patients = test.patients
    kept = {case.name for case in pictured(test).cases}

    def keep(image: str, found: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        if image in kept:
            masks[key_of(name, image)] = np.stack([found[label] for label in test.classes])

    report = evaluate(
        method,
        test,
        split="test",
        on_masks=keep,
        on_progress=lambda at: task.tell(f"testing on {name}", at.done / at.total),
        should_cancel=task.should_cancel,
    )
    return [Score.of(row, patients[row.image]) for row in report.rows]
