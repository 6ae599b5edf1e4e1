from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_graydet.errors import ConflictError
from napari_graydet.project.history import History
from napari_graydet.project.schema import Annotation, State
from napari_graydet.project.store import ProjectStore
from tests.project.conftest import MEMORY
from tests.project.projects import SHAPE, annotations, blank, edited, make_project, predicted


def test_three_hundred_edits_across_images_go_back_and_forth(store: ProjectStore) -> None:
    history = History(store)
    for i in range(300):
        history.do(1 + i % 3, edited(i), f"edit {i}")
    states = []
    while history.can_undo:
        states.append(store.annotation(1 + (299 - len(states)) % 3)[0])
        history.undo()
    assert states == [edited(i) for i in reversed(range(300))]
    assert all(store.annotation(i)[0] == blank() for i in (1, 2, 3))
    assert history.undo() is None
    while history.can_redo:
        history.redo()
    assert history.redo() is None
    assert [store.annotation(i)[0] for i in (1, 2, 3)] == [edited(i) for i in (297, 298, 299)]
    assert sum(len(store.revisions(i)) for i in (1, 2, 3)) == 900


def test_undo_names_the_image_and_the_action(store: ProjectStore) -> None:
    history = History(store)
    history.do(2, edited(), "drag the bottom")
    assert (history.undo_action, history.redo_action) == ("drag the bottom", None)
    assert history.undo() == 2
    assert (history.undo_action, history.redo_action) == (None, "drag the bottom")
    actions = [(entry.kind, entry.action) for entry in store.revisions(2)]
    assert actions == [("edit", "drag the bottom"), ("undo", "undo: drag the bottom")]


def test_a_new_edit_ends_redoing(store: ProjectStore) -> None:
    history = History(store)
    history.do(1, edited(1), "a")
    history.undo()
    history.do(2, edited(2), "b")
    assert not history.can_redo
    assert history.undo() == 2


def test_accepting_is_undone_too(store: ProjectStore) -> None:
    history = History(store)
    history.do(1, edited(), "draw")
    history.do(1, edited(state=State.ACCEPTED), "accept")
    history.undo()
    assert store.entry(1).state is State.IN_WORK


def test_an_edit_on_an_outdated_record_is_a_conflict(folder: Path) -> None:
    with make_project(folder, who="anna") as anna, ProjectStore.open(folder, who="bo") as bo:
        mine, yours = History(anna), History(bo)
        assert mine.load(1, SHAPE) == yours.load(1, SHAPE) == blank()
        yours.do(1, edited(1), "bo's")
        with pytest.raises(ConflictError, match="bo changed"):
            mine.do(1, edited(2), "anna's")
        assert not mine.can_undo
        assert mine.load(1) == edited(1)
        mine.do(1, edited(2), "anna's")
        assert anna.annotation(1) == (edited(2), 2)


def test_undo_never_takes_back_what_somebody_else_did(folder: Path) -> None:
    with make_project(folder, who="anna") as anna, ProjectStore.open(folder, who="bo") as bo:
        mine, yours = History(anna), History(bo)
        mine.do(1, edited(1), "one")
        mine.do(2, edited(2), "two")
        yours.load(2)
        yours.do(2, edited(3), "bo's")
        with pytest.raises(ConflictError):
            mine.undo()
        assert anna.annotation(2)[0] == edited(3)
        assert mine.undo() == 1
        assert not mine.can_undo
        assert yours.undo() == 2
        assert History(bo).can_redo


def test_a_prediction_ends_what_can_be_undone_in_its_image(store: ProjectStore) -> None:
    history = History(store)
    history.do(1, edited(), "draw")
    history.do(2, edited(), "draw")
    history.undo()
    assert store.save_prediction(2, predicted(), "net")
    for after in (history, History(store)):
        after.load(2)
        assert not after.can_redo
        assert after.undo_action == "draw"
    assert history.undo() == 1


def test_a_failed_save_leaves_the_history_as_it_was(store: ProjectStore) -> None:
    history = History(store)
    history.do(1, edited(1), "a")
    history.undo()
    bad = edited().model_copy(update={"state": "done"})
    with pytest.raises(Exception, match="not valid"):
        history.do(1, bad, "b")
    assert history.can_redo and not history.can_undo
    assert history.redo() == 1


def test_only_so_many_revisions_are_looked_through(
    store: ProjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(store)
    for i in range(6):
        history.do(1, edited(i), f"edit {i}")
    for _ in range(4):
        history.undo()
    monkeypatch.setattr("napari_graydet.project.history.REBUILT_FROM", 5)  # edit 5 and four undos
    again = History(store)
    again.load(1)
    assert not again.can_undo
    while again.can_redo:
        again.redo()
    assert store.annotation(1)[0] in [edited(i) for i in range(6)]


class UndoRedo(RuleBasedStateMachine):
    """Compare with the simplest model there is: whole states before and after each edit."""

    @initialize()
    def begin(self) -> None:
        self.home = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.folder = Path(self.home.name) / "project"
        self.store = make_project(self.folder, 2)
        self.history = History(self.store)
        self.now: dict[int, Annotation] = {1: blank(), 2: blank()}
        self.past: list[tuple[int, Annotation, Annotation]] = []
        self.future: list[tuple[int, Annotation, Annotation]] = []
        self.written = 0

    @rule(image_id=st.sampled_from([1, 2]), record=annotations())
    def edit(self, image_id: int, record: Annotation) -> None:
        self.history.do(image_id, record, "edit")
        self.past.append((image_id, self.now[image_id], record))
        self.future.clear()
        self.now[image_id] = record
        self.written += 1

    @rule()
    def undo(self) -> None:
        if not self.past:
            assert self.history.undo() is None
            return
        image_id, before, _ = self.past[-1]
        assert self.history.undo() == image_id
        self.future.append(self.past.pop())
        self.now[image_id] = before
        self.written += 1

    @rule()
    def redo(self) -> None:
        if not self.future:
            assert self.history.redo() is None
            return
        image_id, _, after = self.future[-1]
        assert self.history.redo() == image_id
        self.past.append(self.future.pop())
        self.now[image_id] = after
        self.written += 1

    @precondition(lambda self: self.written)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = ProjectStore.open(self.folder)
        self.history = History(self.store)

    @invariant()
    def memory_equals_disk(self) -> None:
        assert {i: self.store.annotation(i, SHAPE)[0] for i in self.now} == self.now
        assert self.history.can_undo == bool(self.past)
        assert self.history.can_redo == bool(self.future)
        assert sum(entry.revision for entry in self.store.entries()) == self.written

    def teardown(self) -> None:
        self.store.close()
        self.home.cleanup()


TestUndoRedo = UndoRedo.TestCase
TestUndoRedo.settings = settings(max_examples=25, stateful_step_count=30)


@pytest.mark.long
def test_two_hundred_runs_of_fifty_steps() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(UndoRedo, settings=settings(max_examples=200, stateful_step_count=50))
