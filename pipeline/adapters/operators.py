"""A small C operator for a network's pools and local response norms on a CPU, built on first use by the system's C compiler.

torch's local response norm has no bfloat16 kernel and takes half of a bf16 network's time; the network's own band convolution
(`paper/layers.py`) costs a twelfth of all multiply-adds; torch's max pools read each value up to nine times. This one reads
each value once.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.artefacts.storage import write_atomic
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import LocalResponseNorm

FLAGS = ("-O3", "-fno-math-errno", "-fPIC", "-shared")
SYMBOLS = {torch.float32: "pool_float32", torch.bfloat16: "pool_bfloat16"}
NORMS = {"none": 0, "first": 1, "last": 2}


def cache_folder() -> Path:
    """Where what is compiled on this machine is kept: below XDG_CACHE_HOME or ~/.cache, for this user alone."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "going-deeper"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@cache
def library() -> ctypes.CDLL | None:
    """The operators, built if need be; None where there is no C compiler that builds them."""
    source = resources.files(__package__).joinpath("operators.c").read_bytes()
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return None
    key = hashlib.sha256(repr((source, FLAGS, compiler, platform.machine(), platform.libc_ver())).encode()).hexdigest()[:16]
    path = cache_folder() / f"operators-{key}.so"
    if not path.exists():
        built = path.with_name(f".{path.name}.{os.getpid()}")
        command = [compiler, *FLAGS, "-x", "c", "-", "-o", str(built), "-lm"]
        if subprocess.run(command, input=source, capture_output=True).returncode:
            return None
        write_atomic(path, built.read_bytes())
        built.unlink()
    loaded = ctypes.CDLL(str(path))
    for symbol in SYMBOLS.values():
        getattr(loaded, symbol).argtypes = [*[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 8, ctypes.c_int, ctypes.c_float]
    return loaded


@torch.library.custom_op("going_deeper::max_pool", mutates_args=())
def max_pool(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    """GoogLeNet's 3x3 max pools on the CPU, float32 or bfloat16, without a gradient, with a local response norm on either side.

    Stride 1 is padded by 1; stride 2 is not, and rounds its size up. `norm` is `first`, `last` or `none`, of 5 channels:
    x / (1 + alpha/5 * sum of squares) ** 0.75, in float32.
    """
    x = x_NCHW.contiguous(memory_format=torch.channels_last)
    y = _pooled_like(x, stride)
    n, c, h, w = x.shape
    symbol = getattr(library(), SYMBOLS[x.dtype])
    padding = 1 if stride == 1 else 0
    if symbol(x.data_ptr(), y.data_ptr(), n, h, w, c, *y.shape[2:], stride, padding, NORMS[norm], alpha / 5):
        raise MemoryError("no memory for a max pool's row buffers")
    return y


@max_pool.register_fake
def _(x_NCHW: Tensor, stride: int, norm: str, alpha: float) -> Tensor:
    return _pooled_like(x_NCHW, stride)


def _pooled_like(x: Tensor, stride: int) -> Tensor:
    n, c, h, w = x.shape
    size = (h, w) if stride == 1 else (h // 2, w // 2)  # of at least 2 pixels, a window that starts inside ends the row
    return torch.empty(n, c, *size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


class OperatorPool(nn.Module):
    """Stands in for a max pool, or for a max pool and the local response norm beside it, where no gradient is needed."""

    def __init__(self, stride: int, norm: Literal["none", "first", "last"] = "none", alpha: float = 0.0):
        super().__init__()
        self.stride, self.norm, self.alpha = stride, norm, alpha

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y: Tensor = max_pool(x_NCHW, self.stride, self.norm, self.alpha)
        return y


def use_operators(network: nn.Module) -> bool:
    """Replace, in place, the pools that the operator knows and GoogLeNet's norms; False where it cannot be built."""
    if library() is None:
        return False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if (stride := _stride_of(child)) is not None:
                setattr(module, name, OperatorPool(stride))
    if isinstance(network, GoogLeNet) and isinstance(network.norm1, LocalResponseNorm):
        network.pool1, network.norm1 = OperatorPool(2, "last", network.norm1.alpha), nn.Identity()
    if isinstance(network, GoogLeNet) and isinstance(network.norm2, LocalResponseNorm):
        network.pool2, network.norm2 = OperatorPool(2, "first", network.norm2.alpha), nn.Identity()
    return True


def _stride_of(module: nn.Module) -> int | None:
    """The stride of a max pool that the operator computes; None of any other module."""
    if not isinstance(module, nn.MaxPool2d) or module.return_indices:
        return None
    shape = [value if isinstance(value, tuple) else (value, value) for value in (module.kernel_size, module.dilation)]
    if shape != [(3, 3), (1, 1)]:
        return None
    pair = module.stride, module.padding
    if pair in ((1, 1), ((1, 1), (1, 1))):
        return 1
    return 2 if pair in ((2, 0), ((2, 2), (0, 0))) and module.ceil_mode else None
