"""The states of two trainings, compared bit by bit."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def on_cpu(value: Any) -> Any:
    """Return a copy of a state on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, Mapping):
        return {name: on_cpu(part) for name, part in value.items()}
    return [on_cpu(part) for part in value] if isinstance(value, list | tuple) else value


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield all tensors of a state."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_of(part)


def num_differing(one: Any, other: Any) -> int:
    """Return how many tensors of two states differ in a bit."""
    pairs = zip(tensors_of(one), tensors_of(other), strict=True)
    return sum(not torch.equal(a.cpu(), b.cpu()) for a, b in pairs)
