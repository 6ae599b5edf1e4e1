"""The training loop: goes on to the bit, keeps the best weights, halves batches, refuses NaN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_graydet.errors import CancelledError, ModelError, WeightsError
from napari_graydet.models.learning import loop as training
from napari_graydet.models.learning.checkpoints import Checkpoints
from napari_graydet.models.learning.loop import Budget, Step, Watch, fit
from tests.models.learners import Tiny, weights_of

BUDGET = Budget(steps=12, validations=4)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def stopping(step: int, checkpoints: Checkpoints) -> Watch:
    def stop(at: Step) -> None:
        if at.step == step:
            raise CancelledError("stopped")

    return Watch(step=stop, checkpoints=checkpoints)


def whole() -> tuple[dict[str, Tensor], dict[str, float]]:
    learner = Tiny()
    scores = fit(learner, BUDGET)
    return weights_of(learner), scores


@settings(max_examples=12)
@given(stops=st.lists(st.integers(1, 12), max_size=3, unique=True).map(sorted))
def test_stopped_anywhere_it_ends_in_the_same_weights(
    stops: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in stops:
        with pytest.raises(CancelledError):
            fit(Tiny(), BUDGET, stopping(step, Checkpoints(folder)))
        torch.rand(7)  # whatever the program did in between
    learner = Tiny()
    scores = fit(learner, BUDGET, Watch(checkpoints=Checkpoints(folder)))
    weights, expected = whole()
    assert equal(weights_of(learner), weights)
    assert scores == expected


def test_stopped_while_held_out_images_are_scored_it_scores_them_when_it_goes_on(
    tmp_path: Path,
) -> None:
    class Stopped(Tiny):
        def validate(self) -> dict[str, float]:
            if len(self.validated) == 1:
                raise CancelledError("stopped")
            return super().validate()

    told: list[int] = []

    def watch() -> Watch:
        return Watch(
            validated=lambda step, *_: told.append(step), checkpoints=Checkpoints(tmp_path)
        )

    with pytest.raises(CancelledError):
        fit(Stopped(), BUDGET, watch())
    learner = Tiny()
    scores = fit(learner, BUDGET, watch())
    assert told == [3, 6, 9, 12], "each once"
    weights, expected = whole()
    assert equal(weights_of(learner), weights) and scores == expected


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    other = Tiny(seed=1)
    fit(other, BUDGET)
    assert equal(whole()[0], whole()[0])
    assert not equal(whole()[0], weights_of(other))


def test_progress_reaches_the_end_and_held_out_images_are_scored_evenly() -> None:
    steps: list[Step] = []
    told: list[tuple[int, float]] = []
    learner = Tiny()
    watch = Watch(step=steps.append, validated=lambda step, share, *_: told.append((step, share)))
    fit(learner, BUDGET, watch)
    assert [at.step for at in steps] == list(range(1, 13))
    assert steps[-1].share == 1.0
    assert told == [(3, 0.25), (6, 0.5), (9, 0.75), (12, 1.0)]


def test_the_best_weights_win_and_ties_go_to_the_later_ones() -> None:
    kept: list[dict[str, Tensor]] = []
    learner = Tiny(scores=[0.5, 0.9, 0.9, 0.1])
    scores = fit(learner, BUDGET, Watch(validated=lambda *_: kept.append(weights_of(learner))))
    assert scores == {"score": 0.9}
    assert equal(weights_of(learner), kept[2])
    assert not equal(kept[1], kept[2])


def test_without_a_better_score_the_rest_is_saved() -> None:
    learner = Tiny(scores=[0.9, 0.5, 0.4, 0.99])
    scores = fit(learner, Budget(steps=12, validations=4, patience=2))
    assert len(learner.validated) == 3 and scores == {"score": 0.9}


class Full(Tiny):
    """Runs out of memory with more than `fits` pictures."""

    fits = 5
    message = "CUDA out of memory. Tried to allocate"

    def loss(self) -> Tensor:
        if self.batch > self.fits:
            raise RuntimeError(self.message)
        return super().loss()


def test_out_of_memory_halves_the_batch_and_says_so() -> None:
    notices: list[str] = []
    learner = Full()
    fit(learner, BUDGET, Watch(notice=notices.append))
    assert learner.batch == 4
    assert notices == [f"Out of memory: going on with batches of {n}." for n in (8, 4)]


def test_a_machine_that_cannot_take_the_smallest_batch_is_told() -> None:
    learner = Full()
    learner.fits = 3
    with pytest.raises(ModelError, match="Out of memory with a batch of 4"):
        fit(learner, BUDGET)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    learner = Full()
    learner.message = "shapes do not match"
    with pytest.raises(RuntimeError, match="shapes"):
        fit(learner, BUDGET)


class Diverging(Tiny):
    """Its loss becomes NaN at a step; with `poison` its gradient alone does, one step earlier."""

    poison = False

    def loss(self) -> Tensor:
        loss = super().loss()
        if self.poison and self.steps == 4:
            return loss + (loss * 0).sqrt()  # a root has no slope at 0
        return loss * float("nan") if self.steps == 5 else loss


@pytest.mark.parametrize(
    ("poison", "said", "kept"),
    [(False, "became nan", 5), (True, "gradient is not finite at step 5", 4)],
)
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(
    tmp_path: Path, poison: bool, said: str, kept: int
) -> None:
    learner = Diverging()
    learner.poison = poison
    with pytest.raises(ModelError, match=said):
        fit(learner, BUDGET, Watch(checkpoints=Checkpoints(tmp_path)))  # none was due before
    snapshot = Checkpoints(tmp_path).load(print)
    assert snapshot is not None
    assert snapshot.state["step"] == kept
    assert all(
        torch.isfinite(torch.from_numpy(array)).all()
        for name, array in snapshot.tensors.items()
        if array.dtype.kind == "f"
    )


class Spoiled(Tiny):
    """A weight becomes NaN after a step whose loss and gradient were sound."""

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        super().after_step(step)
        if step == 4:
            self.network[0].weight.fill_(float("nan"))


@pytest.mark.parametrize(("seconds", "kept"), [(0, 3), (1000, None)])
def test_weights_that_are_not_finite_are_no_checkpoint(
    tmp_path: Path, seconds: float, kept: int | None
) -> None:
    with pytest.raises(ModelError):
        fit(Spoiled(), BUDGET, Watch(checkpoints=Checkpoints(tmp_path, seconds=seconds)))
    found = Checkpoints(tmp_path).load(print)
    assert (None if found is None else found.state["step"]) == kept


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CancelledError):
        fit(Tiny(), BUDGET, stopping(2, Checkpoints(tmp_path)))
    other = Tiny()
    other.network[0] = torch.nn.Linear(3, 9)
    with pytest.raises(WeightsError, match="another network"):
        fit(other, BUDGET, Watch(checkpoints=Checkpoints(tmp_path)))


def test_a_budget_in_minutes_ends() -> None:
    learner = Tiny()
    steps: list[Step] = []
    fit(learner, Budget(minutes=0.002, validations=2), Watch(step=steps.append))
    assert steps[-1].share == 1.0 and len(learner.validated) == 2


@pytest.mark.parametrize("budget", [{}, {"steps": 3, "minutes": 1.0}])
def test_a_budget_is_steps_or_minutes(budget: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="either epochs or minutes"):
        Budget(**budget)  # type: ignore[arg-type]


def test_memory_that_is_full_before_a_step_halves_the_batch_as_well() -> None:
    class FullBefore(Tiny):
        def prepare(self, step: int, share: float) -> None:
            if self.batch > 4:
                raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling a function")
            super().prepare(step, share)

    said: list[str] = []
    learner = FullBefore()
    fit(learner, BUDGET, Watch(notice=said.append))
    assert learner.batch == 4 and "Out of memory" in said[0]


def test_stopped_before_a_step_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    class Stopped(Tiny):
        def prepare(self, step: int, share: float) -> None:
            if step == 5:
                raise CancelledError("stopped")
            super().prepare(step, share)

    with pytest.raises(CancelledError):
        fit(Stopped(), BUDGET, Watch(checkpoints=Checkpoints(tmp_path)))
    learner, said = Tiny(), list[str]()
    fit(learner, BUDGET, Watch(notice=said.append, checkpoints=Checkpoints(tmp_path)))
    assert "step 5" in said[0] and equal(weights_of(learner), whole()[0])


def test_a_step_that_takes_half_the_time_is_not_followed_by_a_score_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, *[30.0 + second for second in range(1000) for _ in range(4)]])
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    shares: list[float] = []
    fit(
        Tiny(),
        Budget(minutes=1, validations=10),
        Watch(validated=lambda _step, share, *_: shares.append(share)),
    )
    assert shares[0] >= 0.5 and shares[-1] == 1.0
    assert len(shares) <= 6, "one for each tenth that is left"
