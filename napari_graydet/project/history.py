"""Undo and redo, across images. Each step back or forth is itself a new revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_graydet.errors import ConflictError
from napari_graydet.project.schema import Annotation, RevisionEntry, Source
from napari_graydet.project.store import ProjectStore

REBUILT_FROM = 2000
"""Revisions that are looked through for undoable edits when a project is opened."""


@dataclass(frozen=True)
class Step:
    """An edit: the revision of an image before it, and the one that it made."""

    image_id: int
    before: int
    after: int
    action: str


class History:
    """Edits of one person, their undoing and redoing.

    Nothing is taken from the disk: undoing saves the older record as a new revision, so that the
    store's promises (on disk when acknowledged, no lost update) hold for it too. The history is
    read back from the revisions, so it survives a crash and goes on after reopening.

    What changes an image otherwise (a colleague, a prediction, an import) ends what can be undone
    in that image, and in that image only.

    Parameters
    ----------
    store
        The project.
    """

    def __init__(self, store: ProjectStore) -> None:
        self._store = store
        self._undo: list[Step] = []
        self._redo: list[Step] = []
        self._heads: dict[int, int] = {}
        for entry in store.newest_revisions(REBUILT_FROM):
            self._replay(entry)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is an undone edit to redo."""
        return bool(self._redo)

    @property
    def undo_action(self) -> str | None:
        """What `undo` would undo, in a few words."""
        return self._undo[-1].action if self._undo else None

    @property
    def redo_action(self) -> str | None:
        """What `redo` would redo, in a few words."""
        return self._redo[-1].action if self._redo else None

    def load(self, image_id: int, shape: tuple[int, int] | None = None) -> Annotation:
        """Return the current record of an image; the next edit is made on this revision.

        Parameters and errors as `ProjectStore.annotation`.
        """
        record, revision = self._store.annotation(image_id, shape)
        if self._heads.get(image_id, revision) != revision:
            self._forget(image_id)
        self._heads[image_id] = revision
        return record

    def do(
        self,
        image_id: int,
        annotation: Annotation,
        action: str,
        *,
        source: Source = "human",
        active_seconds: float = 0.0,
    ) -> int:
        """Save an edit; what had been undone can't be redone any more.

        Parameters
        ----------
        image_id
            Which image.
        annotation
            The record after the edit.
        action
            What was done, in a few words.
        source
            Who made the new parts.
        active_seconds
            Time that the person worked on it.

        Returns
        -------
        int
            The new revision.

        Raises
        ------
        ConflictError
            If the image was changed by somebody else since `load`; nothing was written.
        ProjectError
            As `ProjectStore.save`; then the history is as it was.
        """
        before = self._head(image_id)
        after = self._save(image_id, annotation, before, action, "edit", source, active_seconds)
        self._undo.append(Step(image_id, before, after, action))
        self._redo.clear()
        return after

    def undo(self) -> int | None:
        """Undo the newest edit.

        Returns
        -------
        int or None
            The image that changed; None if there is nothing to undo.

        Raises
        ------
        ConflictError
            If the image was changed otherwise meanwhile; its edits can't be undone any more.
        ProjectError
            If the disk fails; the step can be tried again.
        """
        return self._move(self._undo, self._redo, "undo")

    def redo(self) -> int | None:
        """Redo the edit that was undone last; returns and raises as `undo`."""
        return self._move(self._redo, self._undo, "redo")

    def _move(
        self, steps: list[Step], other: list[Step], kind: Literal["undo", "redo"]
    ) -> int | None:
        if not steps:
            return None
        step = steps[-1]
        target = step.before if kind == "undo" else step.after
        record = self._record(step, target)
        head = self._head(step.image_id)
        try:
            self._save(step.image_id, record, head, f"{kind}: {step.action}", kind, "human")
        except ConflictError:
            self._forget_steps(step.image_id)  # but not `head`: an edit conflicts, too
            raise
        other.append(steps.pop())
        return step.image_id

    def _save(
        self,
        image_id: int,
        record: Annotation,
        head: int,
        action: str,
        kind: Literal["edit", "undo", "redo"],
        source: Source,
        active_seconds: float = 0.0,
    ) -> int:
        revision = self._store.save(
            image_id,
            record,
            expected_revision=head,
            source=source,
            action=action,
            active_seconds=active_seconds,
            kind=kind,
        )
        self._heads[image_id] = revision
        return revision

    def _record(self, step: Step, revision: int) -> Annotation:
        """Return a saved record; revision 0 is the empty one that every image begins with."""
        if revision > 0:
            return self._store.record_at(step.image_id, revision)
        first = self._store.record_at(step.image_id, step.after)
        return Annotation(width=first.width, height=first.height)

    def _head(self, image_id: int) -> int:
        """Return the revision that an edit is made on."""
        if image_id not in self._heads:
            self._heads[image_id] = self._store.entry(image_id).revision
        return self._heads[image_id]

    def _forget(self, image_id: int) -> None:
        self._heads.pop(image_id, None)
        self._forget_steps(image_id)

    def _forget_steps(self, image_id: int) -> None:
        self._undo[:] = [step for step in self._undo if step.image_id != image_id]
        self._redo[:] = [step for step in self._redo if step.image_id != image_id]

    def _replay(self, entry: RevisionEntry) -> None:
        """Do to the stacks what was done when a revision was written."""
        image_id, mine = entry.image_id, entry.who == self._store.who
        if mine and entry.kind == "edit":
            self._undo.append(Step(image_id, entry.revision - 1, entry.revision, entry.action))
            self._redo.clear()
        elif mine and entry.kind == "undo":
            self._replay_move(self._undo, self._redo, image_id)
        elif mine and entry.kind == "redo":
            self._replay_move(self._redo, self._undo, image_id)
        else:
            self._forget(image_id)
        self._heads[image_id] = entry.revision

    def _replay_move(self, steps: list[Step], other: list[Step], image_id: int) -> None:
        if steps and steps[-1].image_id == image_id:
            other.append(steps.pop())
        else:  # the edit is older than what is looked through; before it nothing is certain
            steps.clear()
            other.clear()
