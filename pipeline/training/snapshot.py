"""Copies of a training's state, made between two steps."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")


def snapshot(state: T, device: torch.device) -> tuple[T, Callable[[], object]]:
    """Return a copy of a state that later steps do not change, and what waits for it.

    The state is a tensor, or dicts and lists of states. The host goes on at once: a GPU
    copies to pinned memory after all that it was asked for before, and the copy is
    whole once the second value was called. On a CPU the copy is whole already.
    """
    taken = _copy(state)
    if device.type == "cuda":
        return taken, torch.cuda.current_stream(device).record_event().synchronize
    return taken, lambda: None


def _copy(state: T) -> T:
    taken: Any = state
    if isinstance(state, Tensor):
        taken = torch.empty_like(state, device="cpu", pin_memory=state.is_cuda)
        taken.copy_(state.detach(), non_blocking=True)
    elif isinstance(state, dict):
        taken = copy.copy(state)  # of its own kind: torch marks some with versions
        taken.update({name: _copy(part) for name, part in state.items()})
    elif isinstance(state, list):
        taken = [_copy(part) for part in state]
    return cast(T, taken)
