"""Train detectors on a project or on a pair of folders: a run from its data to its registry entry.

Bad input is refused before a run is made. A run that fails or is stopped keeps its entry, without
weights; what was in use stays in use. After a kill or a stop it goes on from its checkpoints to
the same weights (`resume`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from napari_graydet.errors import CancelledError, GraydetError, ProjectError
from napari_graydet.io.lock import GLANCE, exclusive
from napari_graydet.io.weights import WeightsKind
from napari_graydet.models.machine import machine_note
from napari_graydet.project.model_entry import ModelEntry, SplitNote
from napari_graydet.project.model_registry import (
    LOCK_FILE,
    LOG_FILE,
    STOP_FILE,
    WORK_FOLDER,
    ModelRegistry,
)
from napari_graydet.workflows.events import ShouldCancel, never_cancel, one_line
from napari_graydet.workflows.training.events import OnEvent, Reporter, ignore_event
from napari_graydet.workflows.training.group import with_others
from napari_graydet.workflows.training.job import PartJob, PartResult
from napari_graydet.workflows.training.parts import Part
from napari_graydet.workflows.training.plan import Plan, keep_rule, plan_run
from napari_graydet.workflows.training.request import TrainRequest

_PACKAGES = ("napari-graydet", "torch", "ultralytics", "numpy")


def train(
    request: TrainRequest,
    folder: Path,
    *,
    on_event: OnEvent = ignore_event,
    should_cancel: ShouldCancel = never_cancel,
    use: bool = False,
) -> ModelEntry:
    """Train as a new run.

    Parameters
    ----------
    request
        What to train.
    folder
        Where the run's entry goes: the project, or any folder.
    on_event
        Gets every event (training_events.py).
    should_cancel
        Asked at every batch; the run's stop file is, too.
    use
        Whether to put the new weights in use at the end.

    Returns
    -------
    ModelEntry
        The run, "done".

    Raises
    ------
    GraydetError
        Of any kind, for bad input: then there is no run. Later, with the run marked "failed".
    CancelledError
        If stopped; the run can be resumed.
    """
    registry, reporter = ModelRegistry(folder), Reporter(on_event)
    for notice in keep_rule(request):
        reporter("notice", message=notice)
    plan = plan_run(request, registry, should_cancel)
    machine = machine_note(request.device)
    kept = plan.request.moved(lambda path: _beside(path, registry.folder))
    entry = registry.begin(
        (part.name for part in plan.parts),
        preset=request.preset,
        seed=request.seed,
        request=kept.model_dump(mode="json", exclude_defaults=True),
        versions=_versions(),
    )
    split = plan.split
    entry = entry.model_copy(
        update={
            "machine": machine,
            "parents": {kind: start.parent for kind, start in plan.starts.items()},
            "classes": plan.data.classes,
            "data": plan.data.digest,
            "split": SplitNote(
                seed=split.seed, train=split.train, validation=split.validation, test=split.test
            ),
            "revisions": {c.name: c.revision for c in plan.data.cases if c.revision is not None},
        }
    )
    with _alone(registry, entry.id):
        registry.write(entry)
        run = _Run(registry, entry, plan, reporter, should_cancel)
        return run.run(use, resumed=False)


def resume(
    run_id: str,
    folder: Path,
    *,
    on_event: OnEvent = ignore_event,
    should_cancel: ShouldCancel = never_cancel,
    use: bool = False,
) -> ModelEntry:
    """Go on with a run that was killed, stopped or failed; parameters and errors as `train`.

    On the same machine it ends in the weights that it would have had without the interruption;
    elsewhere a notice says what is different.

    Raises
    ------
    ProjectError
        If the run is done, another process is at it, or the data are no longer those that it
        began with.
    """
    registry = ModelRegistry(folder)
    registry.entry(run_id)
    with _alone(registry, run_id):
        (registry.run_folder(run_id) / STOP_FILE).unlink(missing_ok=True)  # that of its last life
        entry = registry.entry(run_id)  # another process may just have ended it
        if entry.status == "done":
            raise ProjectError(f"Model {run_id} is done; there is nothing to resume.")
        stored = TrainRequest.of(**entry.request)
        request = stored.moved(lambda path: os.path.normpath(registry.folder / path))

        def stop() -> bool:  # the images are read for long: who asks now means this life
            return should_cancel() or registry.is_to_stop(run_id)

        plan = plan_run(request, registry, stop, entry)
        versions, machine = _versions(), machine_note(request.device)
        notices = _moved({**entry.versions, **entry.machine}, {**versions, **machine})
        entry = entry.model_copy(
            update={
                "status": "running",
                "message": None,
                "ended": None,
                "versions": versions,
                "machine": machine,
            }
        )
        registry.write(entry)
        run = _Run(registry, entry, plan, Reporter(on_event), should_cancel)
        return run.run(use, resumed=True, notices=notices)


def device_of(run_id: str, folder: Path) -> str:
    """Return where a run was asked to be trained; errors as `resume`."""
    return str(ModelRegistry(folder).entry(run_id).request.get("device", "auto"))


def _beside(path: str, folder: Path) -> str:
    """Return a path as seen from a folder; between two drives of Windows there is no such path."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(Path(path).absolute())


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


def _moved(before: Mapping[str, object], here: Mapping[str, object]) -> list[str]:
    """Say what is not as in the run's last life, as its weights may then differ."""
    changed = [
        f"{name} {was} -> {here.get(name, 'none')}"
        for name, was in before.items()
        if was != here.get(name)
    ]
    if not changed:
        return []
    return [
        f"The run goes on under other conditions than before ({', '.join(changed)}): its weights "
        "may not be those of a run without the interruption."
    ]


def _alone(registry: ModelRegistry, run_id: str) -> AbstractContextManager[None]:
    """Keep other processes from going on with a run meanwhile."""
    return exclusive(
        registry.run_folder(run_id) / LOCK_FILE,
        error=ProjectError,
        taken=f"Model {run_id} is being trained by another process; wait for its end, or stop it.",
        patience=GLANCE,
    )


# --- a run --------------------------------------------------------------------------------------


class _Run:
    """One run, from its start event to its end."""

    def __init__(
        self,
        registry: ModelRegistry,
        entry: ModelEntry,
        plan: Plan,
        tell: Reporter,
        should_cancel: ShouldCancel,
    ) -> None:
        self._registry, self._entry, self._plan, self._tell = registry, entry, plan, tell
        self._folder = registry.run_folder(entry.id)
        self._work = self._folder / WORK_FOLDER
        self._outside = should_cancel
        self._began = time.monotonic()

    def run(self, use: bool, *, resumed: bool, notices: Iterable[str] = ()) -> ModelEntry:
        """Train all parts, and write how it ended."""
        self._tell.open_log(self._folder / LOG_FILE)
        try:
            self._tell_start(resumed)
            for notice in notices:
                self._tell("notice", message=notice)
            for number, part in enumerate(self._plan.parts):
                self._train(part, number)
            return self._finish(use)
        except (CancelledError, KeyboardInterrupt) as error:
            message = one_line(error) if isinstance(error, CancelledError) else "Interrupted."
            self._end("cancelled", message)
            raise CancelledError(f"Training {self._entry.id} was stopped; resume it.") from error
        except Exception as error:  # whatever it is, the run must not look alive
            self._end("failed", one_line(error))
            raise
        finally:
            self._tell.close()

    def _should_stop(self) -> bool:
        return self._outside() or (self._folder / STOP_FILE).exists()

    def _tell_start(self, resumed: bool) -> None:
        entry, split = self._entry, self._plan.split
        self._tell(
            "start",
            run=entry.id,
            folder=str(self._folder),
            parts=list(entry.parts),
            preset=entry.preset,
            seed=entry.seed,
            classes=list(entry.classes),
            images={"train": len(split.train), "validation": len(split.validation)},
            parents=entry.parents,
            data=entry.data,
            resumed=resumed,
        )
        for notice in self._plan.notices:
            self._tell("notice", message=notice)

    def _train(self, part: Part, number: int) -> None:
        """Train a part, unless an earlier life of this run has."""
        parts, request = self._plan.parts, self._plan.request
        out = self._work / f"{part.kind}.safetensors"
        self._tell("part", part=part.name, number=number + 1, of=len(parts))
        if part.kind in self._entry.scores and (out.exists() or self._final(part).exists()):
            return
        total = sum(one.effort for one in parts)
        before = sum(one.effort for one in parts[:number]) / total

        def tell(event: str, **fields: object) -> None:
            if event == "progress":
                fields["overall"] = before + float(str(fields["share"])) * part.effort / total
            self._tell(event, part=part.name, **fields)

        train_side, validation = self._plan.sides
        job = PartJob(
            train=train_side,
            validation=validation,
            classes=self._plan.data.classes,
            preset=request.preset,
            seed=request.seed,
            start=self._plan.starts[part.kind].path,
            out=out,
            checkpoints=self._work / part.name,
            tell=tell,
            should_cancel=self._should_stop,
            epochs=request.epochs,
            minutes=None if request.minutes is None else request.minutes * part.effort / total,
            device=request.device,
            uses={kind: self._weights(kind) for kind in part.needs},
        )
        silent = replace(job, tell=_say_nothing, should_cancel=never_cancel)
        result = with_others(partial(part.train, job), partial(_train_in, part.train, silent))
        self._note(part, result)

    def _weights(self, kind: WeightsKind) -> Path:
        """Return the weights of a kind that were trained here, else those to work with."""
        for folder in (self._work, self._folder):
            if (made := folder / f"{kind}.safetensors").exists():
                return made
        path = self._plan.starts[kind].path
        assert path is not None  # only a refiner starts from nothing, and nobody works with it
        return path

    def _note(self, part: Part, result: PartResult) -> None:
        """Write down that a part is done, so that it is not trained twice."""
        entry = self._entry
        self._entry = entry.model_copy(
            update={
                "scores": entry.scores | {part.kind: result.scores},
                "parent_scores": entry.parent_scores | {part.kind: result.parent_scores},
                "notes": entry.notes | ({part.kind: result.note} if result.note else {}),
                "seconds": self._seconds(),
            }
        )
        self._began = time.monotonic()
        self._registry.write(self._entry)
        shutil.rmtree(self._work / part.name, ignore_errors=True)

    def _finish(self, use: bool) -> ModelEntry:
        for part in self._plan.parts:
            for file in self._work.glob(f"{part.kind}.*"):  # card last: it makes weights complete
                file.replace(self._folder / file.name)
        entry = self._registry.end(self._timed(), "done")
        shutil.rmtree(self._work, ignore_errors=True)
        active = use and self._put_in_use(entry)
        self._tell(
            "done",
            run=entry.id,
            folder=str(self._folder),
            seconds=round(entry.seconds, 1),
            weights={kind: f"{kind}.safetensors" for kind in entry.weights},
            scores=entry.scores,
            parent_scores=entry.parent_scores,
            active=active,
        )
        return entry

    def _put_in_use(self, entry: ModelEntry) -> bool:
        """Put the new model in use; a model that is complete stays so if that fails."""
        try:
            self._registry.activate(entry.id)
        except GraydetError as error:
            self._tell("notice", message=f"Trained, but not put in use: {one_line(error)}")
            return False
        return True

    def _end(self, status: str, message: str) -> None:
        self._registry.end(self._timed(), "failed" if status == "failed" else "cancelled", message)
        self._tell(status, run=self._entry.id, message=message)

    def _timed(self) -> ModelEntry:
        return self._entry.model_copy(update={"seconds": self._seconds()})

    def _seconds(self) -> float:
        return self._entry.seconds + time.monotonic() - self._began

    def _final(self, part: Part) -> Path:
        return self._registry.weights_path(self._entry.id, part.kind)


def _train_in(train: Callable[[PartJob], PartResult], job: PartJob, folder: Path) -> PartResult:
    """Train a part for a process that leads: what is written here nobody needs."""
    return train(replace(job, out=folder / job.out.name, checkpoints=folder / job.checkpoints.name))


def _say_nothing(event: str, **fields: object) -> None:
    """Take an event that the process that leads tells, too."""
