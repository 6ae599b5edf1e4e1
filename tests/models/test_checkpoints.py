"""Checkpoints: whole or not there, the one before the newest is kept, damage falls back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.models.learning import checkpoints as module
from napari_graydet.models.learning.checkpoints import Checkpoints, Snapshot


def snapshot(step: int) -> Snapshot:
    tensors = {"a": np.arange(20, dtype=np.float32) * step, "random.cpu": np.zeros(4, np.uint8)}
    return Snapshot(tensors, {"step": step, "rng": {"state": 2**100 + step}, "best": 0.1 + step})


def steps_on_disk(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded_and_the_last_two_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "new")
    assert store.load(print) is None
    for step in (1, 2, 3, 12):
        store.save(step, snapshot(step))
    found = store.load(print)
    assert found is not None and found.state == snapshot(12).state
    np.testing.assert_array_equal(found.tensors["a"], snapshot(12).tensors["a"])
    names = [f"step-{step:09d}" for step in (3, 12)]
    assert steps_on_disk(store.folder) == [
        f"{n}{s}" for n in names for s in (".json", ".safetensors")
    ]


@settings(max_examples=25)
@given(data=st.data())
def test_any_damage_to_the_newest_falls_back_on_the_one_before(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    store = Checkpoints(folder)
    for step in (7, 8):
        store.save(step, snapshot(step))
    victim = folder / f"step-{8:09d}{data.draw(st.sampled_from(['.json', '.safetensors']))}"
    content = bytearray(victim.read_bytes())
    how = data.draw(st.sampled_from(["cut", "flip", "gone", "zeros"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if how == "cut":
        victim.write_bytes(content[:at])
    elif how == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        victim.write_bytes(content)
    elif how == "zeros":
        victim.write_bytes(bytes(len(content)))
    else:
        victim.unlink()
    notices: list[str] = []
    found = store.load(notices.append)
    assert found is not None
    if found.state["step"] == 8:  # a change that changes nothing: a space in the JSON, say
        assert found.state == snapshot(8).state
    else:
        assert found.state == snapshot(7).state
        np.testing.assert_array_equal(found.tensors["a"], snapshot(7).tensors["a"])
    if victim.exists() and victim.suffix == ".safetensors":
        assert notices and "step 8" in notices[0]


def test_a_write_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Checkpoints(tmp_path)
    store.save(1, snapshot(1))

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "atomic_write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save(2, snapshot(2))
    found = Checkpoints(tmp_path).load(print)
    assert found is not None and found.state["step"] == 1


def test_adam_goes_on_where_it_was() -> None:
    def stepped(count: int, optimiser: torch.optim.Optimizer, weight: torch.nn.Parameter) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            (weight**2).sum().backward()
            optimiser.step()

    one, two = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    first, second = torch.optim.AdamW([one], lr=0.1), torch.optim.AdamW([two], lr=0.1)
    stepped(3, first, one)
    with torch.no_grad():
        two.copy_(one)
    module.restore_optimiser(second, module.arrays_of_optimiser(first))
    stepped(2, first, one)
    stepped(2, second, two)
    assert torch.equal(one, two)


def test_random_numbers_go_on_where_they_were() -> None:
    rng = np.random.default_rng(3)
    rng.random(5), torch.rand(5)
    arrays, state = module.random_state(rng)
    expected = rng.random(4), torch.rand(4)
    other = np.random.default_rng(9)
    module.restore_random_state(other, arrays, state)
    np.testing.assert_array_equal(other.random(4), expected[0])
    assert torch.equal(torch.rand(4), expected[1])
