"""A GPU for machines that have none: torch's own CPU, which minds where tensors lie.

Tensors that were sent to "cuda" (or "mps", Apple's) are marked. As on a real GPU, no operation
takes marked and unmarked tensors together, numpy cannot read marked ones, and a generator of the
CPU cannot fill them; on mps there are no numbers of 64 bit. Everything is computed, so that losses
and weights are real. Speed, memory and the rounding
of a GPU's own kernels are what this cannot show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")

_MAY_MIX = {
    Tensor.copy_,
    Tensor.data.__set__,
    Tensor.grad.__set__,
    torch._has_compatible_shallow_copy_type,
}
_FOR_NUMPY = {Tensor.numpy, Tensor.__array__}


class MisplacedError(RuntimeError):
    """What a real GPU would have refused."""


def is_on_gpu(tensor: object) -> bool:
    """Tell whether a tensor is marked."""
    return isinstance(tensor, Tensor) and getattr(tensor, "_on_gpu", False)


def _mark(result: object, on: bool) -> None:
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            leaf._on_gpu = on  # type: ignore[attr-defined]


class PretendedGpu(TorchFunctionMode):
    """Runs on the CPU what is meant for a GPU, and refuses what that would refuse."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.device = torch.device(kind, 0)
        self.calls = 0
        """Operations on marked tensors: a test that saw none has tested nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        here = is_on_gpu(args[0]) if args else False
        if func == Tensor.device.__get__:
            return self.device if here else func(*args)
        if func == Tensor.is_cuda.__get__:
            return here and self.device.type == "cuda"
        if func == Tensor.type_as:
            func = Tensor.to
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return self._moved(func, args, kwargs)
        if func in _FOR_NUMPY and here:
            raise MisplacedError("numpy cannot read a tensor on a GPU: call .cpu() first.")
        device = kwargs.get("device")
        meant = None if device is None else torch.device(device).type == self.device.type
        if meant:
            kwargs["device"] = CPU
            if isinstance(kwargs.get("generator"), torch.Generator):
                raise MisplacedError(f"{func} with a generator of the CPU on a GPU.")
        return self._run(func, args, kwargs, meant)

    def _run(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], meant: bool | None
    ) -> Any:
        seen = args[:1] if func == Tensor.__deepcopy__ else (args, kwargs)  # not the memo
        tensors = [leaf for leaf in tree_leaves(seen) if isinstance(leaf, Tensor)]
        marked = [is_on_gpu(tensor) for tensor in tensors]
        self.calls += any(marked)
        if any(marked) and func not in _MAY_MIX:
            self._check(func, args, tensors)
        result = func(*args, **kwargs)
        if func == Tensor.data.__set__:
            _mark(args[0], is_on_gpu(args[1]))
        elif func == Tensor.copy_:
            pass
        elif meant is not None or any(marked):
            self._mark(result, any(marked) if meant is None else meant)
        return result

    def _mark(self, result: object, on: bool) -> None:
        _mark(result, on)
        for leaf in tree_leaves(result) if on and self.device.type == "mps" else ():
            if isinstance(leaf, Tensor) and leaf.dtype == torch.float64:
                raise MisplacedError("Numbers of 64 bit on mps, which has none.")

    def _check(self, func: Any, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
        if func in (Tensor.__getitem__, Tensor.__setitem__) and is_on_gpu(args[0]):
            return  # a GPU takes indices from the CPU, and copies what it is given
        lost = [tensor for tensor in tensors if not is_on_gpu(tensor) and tensor.dim() > 0]
        if lost:
            shapes = [(tuple(t.shape), "cuda" if is_on_gpu(t) else "cpu") for t in tensors[:6]]
            raise MisplacedError(f"{func} of tensors on two devices: {shapes}")

    def _moved(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        here = is_on_gpu(tensor)
        if func == Tensor.to and rest and isinstance(rest[0], Tensor):
            there, rest = is_on_gpu(rest[0]), [rest[0].dtype, *rest[1:]]
            kwargs.pop("device", None)
        elif func == Tensor.to:
            device = kwargs.pop("device", None) or next(filter(_is_device, rest), None)
            there = here if device is None else torch.device(device).type == self.device.type
            rest = [CPU if _is_device(value) else value for value in rest]
        else:
            there, rest = func != Tensor.cpu, []
        result = tensor.to(*rest, **kwargs) if rest or kwargs else tensor
        if result is tensor and there != here:
            result = tensor.clone()  # another device is another memory
        self.calls += there
        self._mark(result, there)
        return result


def _is_device(value: object) -> bool:
    return isinstance(value, str | torch.device)


class _Autocast(torch.autocast):
    """Mixed precision as the CPU has it, since that is where it is computed."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch, kind: str = "cuda") -> Iterator[PretendedGpu]:
    """Let "cuda", or "mps", be a device of this machine."""
    made = nn.Parameter.__new__

    def parameter(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        value = made(cls, data, requires_grad)
        _mark(value, is_on_gpu(data))  # torch makes it in C, out of sight
        return value

    monkeypatch.setattr(nn.Parameter, "__new__", parameter)
    monkeypatch.setattr(torch, "autocast", _Autocast)
    for name, backend in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        asked = wraps(backend.is_available)(lambda there=kind == name: there)
        monkeypatch.setattr(backend, "is_available", asked)  # torch looks at what is wrapped
    for name, value in {
        "is_bf16_supported": lambda including_emulation=True: True,
        "device_count": lambda: 1,
        "get_device_name": lambda device=None: "a pretended GPU",
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
        "get_rng_state": lambda device="cuda": torch.get_rng_state(),
        "set_rng_state": lambda state, device="cuda": None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    capture = "_accelerator_graph_capture_health_check"  # asks the driver
    monkeypatch.setattr(torch.optim.Optimizer, capture, lambda self: None, raising=False)
    with PretendedGpu(kind) as mode:
        yield mode


@contextmanager
def gpu_of_this_machine(monkeypatch: pytest.MonkeyPatch, kind: str = "cuda") -> Iterator[None]:
    """Run on the GPU where there is one, elsewhere on a pretended one; something has to."""
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if there[kind]():
        yield
        return
    with pretended_gpu(monkeypatch, kind) as mode:
        yield
    assert mode.calls > 0 or kind == "mps", "nothing ran on the GPU"
