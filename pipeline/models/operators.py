"""A small C++ operator for pools and local response norms on a CPU.

`native.py` builds it. torch's local response norm has no bfloat16 kernel and takes half
of a bf16 network's time. The network's own band convolution (`paper/layers.py`) costs a
twelfth of all multiply-adds. torch's max pools read each value up to nine times; this
operator reads each value once.
"""

import ctypes
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import LocalResponseNorm
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


_SIGNATURES = (
    *((f"pool_{name}", (ctypes.c_void_p, ctypes.c_void_p, _Shape)) for name in TYPES.values()),
    *((f"pool_backward_{name}", (*[ctypes.c_void_p] * 3, _Shape)) for name in TYPES.values()),
)


def library() -> ctypes.CDLL | str:
    """Return the operators, built if need be, or the reason why there are none."""
    return native.library("pipeline.models", "operators.cpp", _SIGNATURES)


@torch.library.custom_op("going_deeper::max_pool", mutates_args=())
def max_pool(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    """Compute GoogLeNet's 3x3 max pool on the CPU, optionally with a response norm.

    x is float32 or bfloat16; maps have at least 2 x 2 pixels. Stride 1 pads by 1;
    stride 2 does not pad and rounds the output's size up. `norm` says whether the norm
    comes `first`, `last`, or not at all (`none`). The norm is over 5 channels, in
    float32: x / (1 + alpha/5 * sum of squares) ** 0.75.
    """
    x = x_NCHW.contiguous(memory_format=torch.channels_last)
    y = _pooled_like(x, stride)
    _call("pool", x, y, stride=stride, norm=norm, alpha=alpha)
    return y


@torch.library.custom_op("going_deeper::max_pool_backward", mutates_args=())
def max_pool_backward(
    x_NCHW: Tensor, dy_NCHW: Tensor, stride: int, norm: str, alpha: float
) -> Tensor:
    """Return the gradient of `max_pool` at x.

    If several values are largest, the first takes all of the gradient, as in torch.
    """
    x, dy = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x_NCHW, dy_NCHW))
    dx = torch.empty_like(x)
    _call("pool_backward", x, dy, dx, stride=stride, norm=norm, alpha=alpha)
    return dx


def _call(
    function: str, x: Tensor, y: Tensor, *more: Tensor, stride: int, norm: str, alpha: float
) -> None:
    n, c, h, w = x.shape
    shape = _Shape(
        n, h, w, c, *y.shape[2:], stride, 1 if stride == 1 else 0, NORMS[norm], alpha / 5
    )
    if getattr(library(), f"{function}_{TYPES[x.dtype]}")(
        *(tensor.data_ptr() for tensor in (x, y, *more)), shape
    ):
        raise MemoryError("no memory for a max pool's row buffers")


@max_pool.register_fake
def _(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    return _pooled_like(x_NCHW, stride)


@max_pool_backward.register_fake
def _(x_NCHW: Tensor, dy_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    return torch.empty_like(x_NCHW, memory_format=torch.channels_last)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *ctx.options = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (x,) = ctx.saved_tensors
    return max_pool_backward(x, dy, *ctx.options), None, None, None


max_pool.register_autograd(_differentiate, setup_context=_keep)


def _pooled_like(x: Tensor, stride: int) -> Tensor:
    n, c, h, w = x.shape
    # in maps of 2 pixels or more, a window that starts inside ends the row
    size = (h, w) if stride == 1 else (h // 2, w // 2)
    return torch.empty(
        n, c, *size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
    )


class OperatorPool(nn.Module):
    """Replaces a max pool, or a max pool and the local response norm beside it.

    `original` computes inputs that the operator does not know: float64, a single image
    without a batch, a map of one pixel.
    """

    def __init__(
        self,
        original: nn.Module,
        stride: int,
        norm: Literal["none", "first", "last"] = "none",
        alpha: float = 0.0,
    ):
        super().__init__()
        self.original, self.stride, self.norm, self.alpha = original, stride, norm, alpha

    def forward(self, x_NCHW: Tensor) -> Tensor:
        is_known = x_NCHW.dtype in TYPES and x_NCHW.ndim == 4 and min(x_NCHW.shape[2:]) > 1
        y: Tensor = (
            max_pool(x_NCHW, self.stride, self.norm, self.alpha)
            if is_known
            else self.original(x_NCHW)
        )
        return y


def use_operators(network: nn.Module, device: torch.device) -> bool:
    """Replace, in place, the pools that the operator knows and GoogLeNet's norms.

    Return whether the network changed. It changes only on a CPU with one thread, as our
    ranks have, and only where the operators can be built.
    """
    if device.type != "cpu" or torch.get_num_threads() > 1 or isinstance(library(), str):
        return False
    modules = list(network.modules())
    if isinstance(network, GoogLeNet):
        if isinstance(norm := network.norm1, LocalResponseNorm) and norm.size == 5:
            network.pool1 = OperatorPool(nn.Sequential(network.pool1, norm), 2, "last", norm.alpha)
            network.norm1 = nn.Identity()
        if isinstance(norm := network.norm2, LocalResponseNorm) and norm.size == 5:
            network.pool2 = OperatorPool(nn.Sequential(norm, network.pool2), 2, "first", norm.alpha)
            network.norm2 = nn.Identity()
    for module in modules:
        for name, child in module.named_children():
            if (stride := _stride_of(child)) is not None:
                setattr(module, name, OperatorPool(child, stride))
    return True


def are_used(network: nn.Module) -> bool:
    """Return whether the operator computes a part of a network."""
    return any(isinstance(module, OperatorPool) for module in network.modules())


def _stride_of(module: nn.Module) -> int | None:
    """Return the stride of a max pool that the operator computes, or None.

    Every other module has None, also a subclass of the max pool or one with hooks.
    """
    if type(module) is not nn.MaxPool2d or module.return_indices or has_hooks(module):
        return None
    if (_pair(module.kernel_size), _pair(module.dilation)) != ((3, 3), (1, 1)):
        return None
    shape = (_pair(module.stride), _pair(module.padding), module.ceil_mode)
    if shape[:2] == ((1, 1), (1, 1)):
        return 1
    return 2 if shape == ((2, 2), (0, 0), True) else None


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module's call does more than its `forward`.

    The attributes that hold hooks are private to torch (tried with 2.14). If a version
    lacks them, any module counts as one with hooks.
    """
    return any(getattr(module, kind, True) for kind in ("_forward_hooks", "_forward_pre_hooks"))


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value, value)
