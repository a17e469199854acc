"""Set torch.compile up, so that it raises an error where it would silently give up."""

import logging
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.runtime import native


def enable_compiling(device: torch.device) -> None:
    """Make torch.compile ready to use.

    Raises:
        InputError: there is no compiler.
    """
    if device.type == "cpu" and native.compiler() is None:
        command = os.environ.get("CXX", "g++")
        raise InputError(
            f"torch.compile needs a C++ compiler; {command} is not on the PATH (compiled = false"
            " goes without)"
        )
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(native.cache_folder() / "inductor"))
    # this logger warns where a CUDA build of torch finds no GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def compile_step(
    step: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Compile a function of one batch, for the batch's shape at the first call.

    Raises:
        InputError: there is no compiler, or this torch lacks a setting.
    """
    enable_compiling(device)
    inductor, dynamo = _configs()
    compiled = torch.compile(step, dynamic=False)

    def run(batch: Tensor) -> Tensor:
        """Run the compiled function.

        On a CPU the weights become constants, so that oneDNN packs them once. torch
        raises an error where it gives up.
        """
        with (
            inductor.patch(freezing=device.type == "cpu"),
            dynamo.patch(recompile_limit=64, fail_on_recompile_limit_hit=True),
        ):
            probabilities: Tensor = compiled(batch)
        return probabilities

    return run


def _configs() -> tuple[Any, Any]:
    """Return torch's settings of inductor and dynamo.

    They are private to torch (tried with 2.14).

    Raises:
        InputError: this torch no longer has them.
    """
    try:
        inductor, dynamo = map(import_module, ("torch._inductor.config", "torch._dynamo.config"))
        _ = (inductor.freezing, dynamo.recompile_limit, dynamo.fail_on_recompile_limit_hit)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"torch.compile of torch {torch.__version__} lacks a setting: {error}; compiled = false"
            " goes without, and torch 2.14 has it"
        ) from None
    return inductor, dynamo
