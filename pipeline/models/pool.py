"""A 3x3 max pool with a response norm beside it, and its gradient, by our C++ library.

`native.py` builds the library from `operators.cpp`. In eager mode its functions are
called at once; what torch compiles or exports has them as registered operators.
"""

import ctypes
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pipeline.runtime import native

TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
NORMS = {"none": 0, "first": 1, "last": 2}


class _Shape(ctypes.Structure):
    """The struct `Shape` of operators.cpp."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in ("n", "h", "w", "c", "out_h", "out_w", "stride", "pad", "norm")
        ),
        ("a", ctypes.c_float),
    )


_SIGNATURES = tuple(
    (f"{function}_{name}", (*[ctypes.c_void_p] * 4, ctypes.POINTER(_Shape)))
    for function in ("pool", "pool_backward")
    for name in TYPES.values()
)


def library() -> ctypes.CDLL | str:
    """Return the operators, built if need be, or the reason why there are none."""
    return native.library("pipeline.models", "operators.cpp", _SIGNATURES)


def max_pool(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    """Compute GoogLeNet's 3x3 max pool on the CPU, optionally with a response norm.

    x is float32 or bfloat16; maps have at least 2 x 2 pixels. Stride 1 pads by 1;
    stride 2 does not pad and rounds the output's size up. `norm` says whether the norm
    comes `first`, `last`, or not at all (`none`). The norm is over 5 channels, in
    float32: x / (1 + alpha/5 * sum of squares) ** 0.75.

    If several values are largest, the first takes all of the gradient, as in torch.
    """
    has_gradient = needs_gradient(x_NCHW)
    options = (x_NCHW, stride, norm, alpha)
    y: Tensor
    if torch.compiler.is_compiling():
        y = pool_with_places(*options)[0] if has_gradient else pool(*options)
    else:  # a registered operator takes 30 us more a step, as much as all of a small pool
        y = _Pool.apply(*options) if has_gradient else _pool(*options)
    return y


def _pool(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    x = _channels_last(x_NCHW)
    n, c, h, w = x.shape
    y = _empty((n, c, *_pooled_size(h, w, stride)), x)
    _call("pool", x, (x, y, None, None), stride, norm, alpha)
    return y


def _pool_with_places(
    x_NCHW: Tensor, stride: int, norm: str, alpha: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return also the places of the largest values and what a last norm normalises."""
    x = _channels_last(x_NCHW)
    y, places, pooled = _outputs(x, stride, norm)
    _call("pool", x, (x, y, places, pooled), stride, norm, alpha)
    return y, places, pooled


def _pool_backward(
    kept: Tensor | None,
    places: Tensor,
    dy_NCHW: Tensor,
    size: list[int],
    stride: int,
    norm: str,
    alpha: float,
) -> Tensor:
    dy = _channels_last(dy_NCHW)
    dx = _empty(size, dy)
    kept = None if kept is None else _channels_last(kept)
    _call("pool_backward", dx, (kept, places, dy, dx), stride, norm, alpha)
    return dx


pool = torch.library.custom_op("going_deeper::max_pool", _pool, mutates_args=())
pool_backward = torch.library.custom_op(
    "going_deeper::max_pool_backward", _pool_backward, mutates_args=()
)


@torch.library.custom_op("going_deeper::max_pool_with_places", mutates_args=())
def pool_with_places(
    x_NCHW: Tensor, stride: int, norm: str, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `max_pool` and what its gradient needs; an operator returns no None."""
    y, places, pooled = _pool_with_places(x_NCHW, stride, norm, alpha)
    return y, places, _or_nothing(pooled, y)


@pool.register_fake
def _(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    n, c, h, w = x_NCHW.shape
    return _empty((n, c, *_pooled_size(h, w, stride)), x_NCHW)


@pool_with_places.register_fake
def _(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    y, places, pooled = _outputs(x_NCHW, stride, norm)
    return y, places, _or_nothing(pooled, y)


@pool_backward.register_fake
def _(
    kept: Tensor | None,
    places: Tensor,
    dy_NCHW: Tensor,
    size: list[int],
    stride: int,
    norm: str,
    alpha: float,
) -> Tensor:
    return _empty(size, dy_NCHW)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, *ctx.options = inputs
    _, places, pooled = output
    ctx.mark_non_differentiable(places, pooled)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x if ctx.options[1] == "first" else pooled, places)
    ctx.size = x.shape


def _differentiate(ctx: Any, dy: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    return pool_backward(*ctx.saved_tensors, dy, ctx.size, *ctx.options), None, None, None


pool_with_places.register_autograd(_differentiate, setup_context=_keep)


class _Pool(torch.autograd.Function):
    """The same without torch's registry, which takes longer than a small pool."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
        y, places, pooled = _pool_with_places(x, stride, norm, alpha)
        ctx.save_for_backward(x if norm == "first" else pooled, places)
        ctx.options = (x.shape, stride, norm, alpha)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        kept, places = ctx.saved_tensors
        return _pool_backward(kept, places, dy, *ctx.options), None, None, None


def needs_gradient(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _call(
    function: str,
    x: Tensor,
    tensors: tuple[Tensor | None, ...],
    stride: int,
    norm: str,
    alpha: float,
) -> None:
    """Call a function of the library; x is like the pool's input."""
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    if _function(function, x.dtype)(*pointers, _shape(x.shape, stride, norm, alpha)):
        raise MemoryError("no memory for a max pool's row buffers")


@cache
def _function(name: str, dtype: torch.dtype) -> Any:
    return getattr(library(), f"{name}_{TYPES[dtype]}")


@lru_cache(maxsize=256)  # ours: a network has some 15 pools
def _shape(shape: tuple[int, ...], stride: int, norm: str, alpha: float) -> _Shape:
    n, c, h, w = shape
    pooled = _pooled_size(h, w, stride)
    return _Shape(n, h, w, c, *pooled, stride, 1 if stride == 1 else 0, NORMS[norm], alpha / 5)


def _pooled_size(h: int, w: int, stride: int) -> tuple[int, int]:
    # in maps of 2 pixels or more, a window that starts inside ends the row
    return (h, w) if stride == 1 else (h // 2, w // 2)


def _outputs(x: Tensor, stride: int, norm: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return room for what `_pool_with_places` returns."""
    n, c, h, w = x.shape
    size = (n, c, *_pooled_size(h, w, stride))
    pooled = _empty(size, x) if norm == "last" else None
    return _empty(size, x), _empty(size, x, torch.uint8), pooled


def _or_nothing(pooled: Tensor | None, y: Tensor) -> Tensor:
    return y.new_empty(0, 1, 1, 1) if pooled is None else pooled


def _empty(size: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty(
        size,
        dtype=dtype or like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
