"""The choice of a device and the way back to the CPU, with faked accelerators."""

from __future__ import annotations

import pytest
import torch

from napari_graydet.errors import ModelError
from napari_graydet.models import device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    def has(*, cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_the_best_device(machine, cuda: bool, mps: bool, chosen: str) -> None:
    machine(cuda=cuda, mps=mps)
    assert device.choose_device().type == chosen


def test_a_preference_wins(machine) -> None:
    machine(cuda=True, mps=True)
    assert device.choose_device("cpu").type == "cpu"
    assert device.choose_device("mps").type == "mps"


def test_what_needs_numbers_of_64_bit_is_not_computed_on_mps(machine) -> None:
    machine(cuda=False, mps=True)
    assert device.choose_device(float64=True).type == "cpu"
    assert device.choose_device("mps", float64=True).type == "cpu"
    machine(cuda=True, mps=False)
    assert device.choose_device(float64=True).type == "cuda"


def test_a_missing_or_unknown_device_is_an_error(machine) -> None:
    machine(cuda=False, mps=False)
    with pytest.raises(ModelError, match="not available"):
        device.choose_device("cuda")
    with pytest.raises(ModelError, match="got 'tpu'"):
        device.choose_device("tpu")


@pytest.mark.parametrize("there", [True, False])
def test_mixed_precision_is_for_who_has_it_and_wants_it(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(device, "has_bfloat16", lambda _: there)
    cpu = torch.device("cpu")
    with device.autocast(cpu):
        assert torch.is_autocast_enabled("cpu") == there
    with device.autocast(cpu, on_cpu=False):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS backend out of memory")],
)
def test_out_of_memory_goes_on_on_the_cpu_with_a_notice(error: RuntimeError) -> None:
    tried, notices = [], []

    def run(where: torch.device) -> str:
        tried.append(where.type)
        if where.type != "cpu":
            raise error
        return "done"

    result, now = device.run_with_fallback(run, torch.device("mps"), notices.append)
    assert (result, now.type, tried) == ("done", "cpu", ["mps", "cpu"])
    assert len(notices) == 1
    assert "CPU" in notices[0]


def test_other_errors_and_the_cpu_itself_are_not_retried() -> None:
    tried = []

    def run(where: torch.device) -> None:
        tried.append(where.type)
        raise RuntimeError("shapes differ" if where.type == "cuda" else "out of memory")

    with pytest.raises(RuntimeError, match="shapes differ"):
        device.run_with_fallback(run, torch.device("cuda"))
    with pytest.raises(RuntimeError, match="out of memory"):
        device.run_with_fallback(run, torch.device("cpu"))
    assert tried == ["cuda", "cpu"]
