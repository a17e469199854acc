"""Convolutions with packed weights, and the ReLU behind them, in one call of oneDNN.

torch packs the weights of a convolution anew at every call, and gives 1x1 convolutions
of few images in float32 to a slower library. These operators are torch's own (its
compiler uses them), and need no compiler.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.models.operators import has_hooks

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class PackedConv(nn.Module):
    """Replaces a convolution, or a convolution and the ReLU behind it.

    The weights are packed for the shape of the first batch; others are right, too.
    Inputs become the type of the weights, as under autocast. `original` computes those
    that oneDNN does not know: float64, and a single image without a batch.
    """

    def __init__(self, original: nn.Conv2d, activation: Literal["none", "relu"] = "none"):
        super().__init__()
        self.original, self.activation = original, activation
        self._packed: Tensor | None = None

    @torch.no_grad()
    def forward(self, x_NCHW: Tensor) -> Tensor:
        conv = self.original
        if x_NCHW.dtype not in TYPES.values() or x_NCHW.ndim != 4:
            y: Tensor = conv(x_NCHW)
            return y.relu_() if self.activation == "relu" else y
        x = x_NCHW.to(conv.weight.dtype).contiguous(memory_format=torch.channels_last)
        where = (conv.padding, conv.stride, conv.dilation, conv.groups)
        operators: Any = torch.ops.mkldnn
        if self._packed is None:
            self._packed = operators._reorder_convolution_weight(conv.weight, *where, x.shape)
        result: Tensor = operators._convolution_pointwise(
            x, self._packed, conv.bias, *where, self.activation, [], ""
        )
        return result


def pack(network: nn.Module, device: torch.device, precision: str) -> bool:
    """Replace, in place, the convolutions that oneDNN can pack, and the ReLU behind.

    Their weights must never change again. Return whether the network changed: only on a
    CPU, and where oneDNN computes in the precision.
    """
    if device.type != "cpu" or not _knows(precision):
        return False
    convs = [
        (module, name, conv)
        for module in list(network.modules())
        for name, conv in module.named_children()
        if isinstance(conv, nn.Conv2d) and _is_plain(conv, TYPES[precision])
    ]
    for module, name, conv in convs:
        relu = _relu_behind(module, name)
        if relu is not None:
            setattr(module, relu, nn.Identity())
        setattr(module, name, PackedConv(conv, "none" if relu is None else "relu"))
    return bool(convs)


def _knows(precision: str) -> bool:
    """Return whether oneDNN has the operators, and computes in a precision here.

    They are private to torch (tried with 2.14).
    """
    names = ("_convolution_pointwise", "_reorder_convolution_weight", "_is_mkldnn_bf16_supported")
    operators: Any = torch.ops.mkldnn
    return (
        precision in TYPES
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in names)
        and (precision == "fp32" or bool(operators._is_mkldnn_bf16_supported()))
    )


def _is_plain(conv: nn.Conv2d, dtype: torch.dtype) -> bool:
    """Return whether a module is torch's own convolution, of a type, with zeros around
    the image, and nothing else.
    """
    return (
        type(conv) is nn.Conv2d
        and conv.weight.dtype == dtype
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and not has_hooks(conv)
    )


def _relu_behind(module: nn.Module, name: str) -> str | None:
    """Return the name of the ReLU that comes next behind a convolution, if any does."""
    if type(module).forward is not nn.Sequential.forward or has_hooks(module):
        return None
    children = dict(module.named_children())
    names = list(children)
    behind = names[names.index(name) + 1] if name != names[-1] else name
    is_relu = type(children[behind]) is nn.ReLU and not has_hooks(children[behind])
    return behind if is_relu else None
