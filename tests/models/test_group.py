"""A training in several processes: the same weights in all, one that writes, stopped, gone on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.models.learning.group import ALONE, Group, current, joined
from tests.models import group_child as child


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_gradients_are_averaged_as_one_process_would(tmp_path: Path) -> None:
    """By hand: plain gradient descent with weight decay towards the mean of the two places."""
    leader, other = child.in_group(child.towards, tmp_path)
    w, mean = torch.zeros(3), torch.tensor([2.0, 4.0, 8.0])
    for _ in range(child.STEPS):
        w = w - 0.1 * (2 * (w - mean) + 0.1 * w)
    assert torch.allclose(leader["weights"]["w"], w)
    assert torch.equal(leader["weights"]["unused"], torch.ones(2)), "no gradient, no weight decay"
    assert same(leader["weights"], other["weights"])
    assert (leader["batch"], other["batch"]) == (4, 4), "seven pictures a step, four each"


def test_all_end_with_the_leaders_best_weights_and_the_same_seed_gives_them_again(
    tmp_path: Path,
) -> None:
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        runs.append(child.in_group(child.tiny, tmp_path / name))
    for leader, other in runs:
        assert same(leader["weights"], other["weights"])
        assert leader["scores"] == other["scores"] != {}
        assert leader["validated"] and not other["validated"], "held-out images are scored once"
    assert same(runs[0][0]["weights"], runs[1][0]["weights"])


def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    """One that does lets go of tensors while Python ends, and that aborts the process."""
    assert [one["left"] for one in child.in_group(child.towards, tmp_path)] == [[], []]


def test_a_group_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = child.in_group(child.tiny, tmp_path / "whole")
    leader, other = child.in_group(child.stopped, tmp_path / "cut")
    assert leader["error"] == "CancelledError: stop"
    assert other["error"].startswith("CancelledError: Another process")
    again = child.in_group(child.tiny, tmp_path / "cut")
    assert len(again[0]["validated"]) < len(whole[0]["validated"]), "it did go on"
    for one, two in zip(whole, again, strict=True):
        assert same(one["weights"], two["weights"])
        assert one["scores"] == two["scores"]


def test_a_loss_that_is_no_number_anywhere_stops_all(tmp_path: Path) -> None:
    leader, other = child.in_group(child.diverging, tmp_path)
    assert leader["error"].startswith(
        f"ModelError: The loss became nan at step {child.STOP_AT + 1}"
    )
    assert other["error"].startswith("CancelledError: Another process")


def test_memory_that_runs_out_in_one_process_halves_its_batches_alone(tmp_path: Path) -> None:
    leader, other = child.in_group(child.hungry, tmp_path)
    assert (leader["batch"], other["batch"]) == (8, 4)
    assert same(leader["weights"], other["weights"])


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 4))
def test_the_shares_make_up_the_batch(batch: int, size: int, least: int) -> None:
    share = Group(0, size).share(batch, least)
    assert share * size >= batch
    assert share <= batch
    assert share >= min(least, batch)
    if batch >= least * size:
        assert (share - 1) * size < batch


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as group:
        assert group is ALONE is current()
    assert ALONE.leads
    assert ALONE.say("word") == "word"


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """A machine with two GPUs, as far as torch is asked; what it is told comes back."""
    told: list[tuple[str, object]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda at: told.append(("gpu", at)))
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, timeout: told.append(("backend", backend))
    )
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: told.append(("first sum on", device)))
    monkeypatch.setattr(dist, "all_reduce", lambda _: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: told.append(("end", None)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    return told


def test_every_process_gets_a_gpu_of_its_own(
    two_gpus: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with joined("auto") as group:
        assert group == current() == Group(1, 2, "cuda")
    assert current() is ALONE
    assert two_gpus == [
        ("gpu", 1),
        ("backend", "cpu:gloo,cuda:nccl"),
        ("first sum on", "cuda"),
        ("end", None),
    ]


def test_more_processes_than_gpus_are_refused(
    two_gpus: list[tuple[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    with (
        pytest.raises(ModelError, match=r"Expected at most 2 processes .* --nproc-per-node"),
        joined("cuda"),
    ):
        raise AssertionError("joined")
    assert two_gpus == []


def test_a_process_that_fails_does_not_wait_for_the_others(
    two_gpus: list[tuple[str, object]],
) -> None:
    with pytest.raises(CancelledError), joined("cpu"):
        raise CancelledError("stopped")
    assert ("end", None) not in two_gpus
    assert current() is ALONE
