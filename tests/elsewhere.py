"""A device that is not the CPU and needs no card, for tests of code that chooses its device.

Tensors say that they lie on :data:`ELSEWHERE`, and are computed on the CPU. But what a graphics
card refuses is refused here: operands on two devices, and NumPy of what is not on the CPU. The
size of what is made there is noted (:func:`watched`), as the memory of a card is bounded.

A function that ``torch.func`` differentiates must not bring tensors of the CPU there: PyTorch
itself ends then, which it does not on a card.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

ELSEWHERE = torch.device("privateuseone:0")
_MOVES = {"copy_", "_to_copy", "_copy_from", "_copy_from_and_resize"}
_FACTORIES = (
    "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye",
    "eye.m",
)  # fmt: skip
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
"""Operations whose indices may lie on the CPU."""


@dataclass
class Watch:
    """What was made on the device meanwhile."""

    largest: int = 0
    """Numbers in the largest tensor."""


_watches: list[Watch] = []


@contextmanager
def watched() -> Iterator[Watch]:
    """Sizes of what is made on the device in the block."""
    watch = Watch()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


class Elsewhere(Tensor):
    """A tensor that says it lies on :data:`ELSEWHERE`, and holds one on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device=ELSEWHERE,
        )  # fmt: skip

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Elsewhere({self.held!r})"

    def tolist(self) -> Any:
        """A method of the base class does not serve subclasses."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def there(held: Tensor) -> Elsewhere:
    """A tensor of the CPU on the device."""
    return Elsewhere(held.detach().clone())


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.partition("::")[2]
    _check(name, args, kwargs)
    held = tree_map_only(Elsewhere, lambda one: one.held, (args, kwargs))
    target = held[1].get("device")
    if target is not None:
        target = torch.device(target)
        held[1]["device"] = torch.device("cpu")
    found = func(*held[0], **held[1])
    if name in _MOVES and target is not None and target.type == "cpu":
        return found
    if name == "copy_" and not isinstance(args[0], Elsewhere):
        return args[0]
    if func._schema.name.endswith("_") and isinstance(args[0], Elsewhere):
        return args[0]
    return tree_map_only(Tensor, _wrapped, found)


def _wrapped(held: Tensor) -> Elsewhere:
    plain = held.resolve_conj().resolve_neg()
    for watch in _watches:
        watch.largest = max(watch.largest, plain.numel())
    return Elsewhere(plain)


def _check(name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Refuse what lies on the CPU among operands, but numbers and what a card takes too."""
    if name in _MOVES:
        return
    given = (args[0], *args[2:]) if name in _INDEXED else args
    for one in tree_flatten((given, kwargs))[0]:
        if isinstance(one, Tensor) and not isinstance(one, Elsewhere) and one.ndim > 0:
            raise RuntimeError(
                f"{name}: expected all tensors to be on the same device, found one of shape "
                f"{tuple(one.shape)} on the CPU beside those on {ELSEWHERE}"
            )


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def _set_up() -> None:
    _setup_privateuseone_for_python_backend("elsewhere", _Module())
    library = torch.library.Library("aten", "IMPL", "PrivateUse1")
    _kept.append(library)
    for name in _FACTORIES:
        library.impl(name, _factory(name))
    library.impl("_copy_from", _copied)
    fallback = torch.library.Library("_", "IMPL", "PrivateUse1")
    fallback.fallback(lambda func, *args, **kwargs: _computed(func, args, kwargs))
    _kept.append(fallback)
    # Everything is computed in the precision that it has.
    cast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    cast.fallback(torch.library.fallthrough_kernel)
    _kept.append(cast)


_kept: list[torch.library.Library] = []


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    del non_blocking
    held = [one.held if isinstance(one, Elsewhere) else one for one in (target, source)]
    held[0].copy_(held[1])
    return target


def _factory(name: str) -> Any:
    packet, _, overload = name.partition(".")
    func = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def make(*args: Any, **kwargs: Any) -> Elsewhere:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        return _wrapped(func(*args, **kwargs))

    return make


_set_up()  # before the first gradient: PyTorch counts devices then

DEVICES = [
    pytest.param(there, id="elsewhere"),
    pytest.param(
        lambda values: values.cuda(),
        id="cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
"""Functions that bring a tensor to a device that is not the CPU."""
