"""A small C++ operator for pools and local response norms on a CPU.

`native.py` builds it. torch's local response norm has no bfloat16 kernel and takes half
of a bf16 network's time. The network's own band convolution (`paper/layers.py`) costs a
twelfth of all multiply-adds. torch's max pools read each value up to nine times; this
operator reads each value once.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.models.pool import TYPES, library, max_pool, needs_gradient
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import LocalResponseNorm

# ours: a pool with a gradient and fewer values is faster in torch, by type and stride
# (`going-deeper benchmark pools`)
SMALL = {
    (torch.float32, 1): 2**17,
    (torch.float32, 2): 2**20,
    (torch.bfloat16, 1): 2**13,
    (torch.bfloat16, 2): 2**17,
}


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
        if self.norm == "none" and _is_small(x_NCHW, self.stride):
            is_one = self.stride == 1
            return torch.max_pool2d(x_NCHW, 3, self.stride, int(is_one), 1, not is_one)
        is_known = x_NCHW.dtype in TYPES and x_NCHW.ndim == 4 and min(x_NCHW.shape[2:]) > 1
        y: Tensor = (
            max_pool(x_NCHW, self.stride, self.norm, self.alpha)
            if is_known
            else self.original(x_NCHW)
        )
        return y


def _is_small(x: Tensor, stride: int) -> bool:
    """Return whether torch's own pool and its gradient take less time than ours."""
    return (
        x.numel() < SMALL.get((x.dtype, stride), 0)
        and needs_gradient(x)
        and not torch.compiler.is_compiling()
    )


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
