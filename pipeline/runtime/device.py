"""The device that computes: its name, and the facts that its last bits depend on."""

import os
import platform
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import InputError

if TYPE_CHECKING:
    import torch

DRIVER = Path("/proc/driver/nvidia")  # NVIDIA's driver and its GPUs


@cache
def processor() -> str:
    """Return the model of this machine's CPU."""
    return _line(Path("/proc/cpuinfo"), r"model name\s*: (.*)") or platform.machine()


class Device(NamedTuple):
    """A `core` or a `GPU`, and its model; the name is empty where it is unknown.

    The rate of one device does not forecast that of another.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.name})" if self.name else self.kind


def here() -> Device:
    """Return the device of a rank on this machine: the first GPU, or else a core.

    The function does not import torch.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    gpu = None if hidden else next(_gpus(), None)
    return Device("core", processor()) if gpu is None else Device("GPU", gpu)


def device_name(kind: str) -> str:
    """Return the model of this machine's CPU, or of its first GPU (kind `cuda`)."""
    if kind == "cpu":
        return processor()
    import torch  # late, as below

    return torch.cuda.get_device_name(0)


def only(kind: str) -> dict[str, str]:
    """Return the variables with which a process computes on `cpu`, if a GPU or not."""
    return {"ACCELERATE_USE_CPU": "true"} if kind == "cpu" else {}


def refuse_missing(kind: str) -> None:
    """Refuse the device `cuda` where there is no GPU.

    Raises:
        InputError: there is none.
    """
    import torch

    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no GPU; --device cpu tests its cores")


def refuse_without_gpu(precisions: Collection[str]) -> None:
    """Refuse, where there is no GPU, the precisions that need one.

    A CPU has no tf32, and computes fp16 six times as slowly as fp32 (measured).

    Raises:
        InputError: there is such a precision.
    """
    for precision in sorted({"tf32", "fp16"}.intersection(precisions)):
        raise InputError(
            f"precision {precision}: needs a CUDA GPU, and there is none here; fp32 and bf16 run on"
            " a CPU"
        )


def refuse_decoding_without_gpu(decode_on: str, kind: str) -> None:
    """Refuse to decode on a device that is no GPU: a processor is the host's.

    Raises:
        InputError: `decode_on` is `device` and the kind is neither `cuda` nor `GPU`.
    """
    if decode_on == "device" and kind not in ("cuda", "GPU"):
        raise InputError(
            "decode_on device: needs a CUDA GPU, and there is none here; leave the field out to"
            " decode on the host"
        )


def facts(device: "torch.device") -> dict[str, str]:
    """Return the facts of a device: its `name` and its `capability`.

    The capability of a CPU is the instructions that torch uses. A GPU also has the
    versions of its driver, CUDA, cuDNN and NCCL.
    """
    import torch  # late, because reports and studies do not need torch

    if device.type != "cuda":
        return {"name": processor(), "capability": torch.backends.cpu.get_cpu_capability()}
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "name": torch.cuda.get_device_name(device),
        "capability": f"{major}.{minor}",
        "driver": _line(DRIVER / "version", r"Kernel Module(?: for \S+)?\s+([\d.]+)") or "unknown",
        "cuda": torch.version.cuda or "none",
        "cudnn": str(torch.backends.cudnn.version()),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())),
    }


def joined(devices: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Join the facts of several devices; each value appears once.

    >>> joined([{"name": "A100"}, {"name": "H100"}, {"name": "A100"}])
    {'name': 'A100, H100'}
    """
    names = dict.fromkeys(name for each in devices for name in each)
    return {
        name: ", ".join(dict.fromkeys(each[name] for each in devices if name in each))
        for name in names
    }


def _gpus() -> Iterator[str]:
    for folder in sorted(DRIVER.glob("gpus/*")):
        if name := _line(folder / "information", r"Model:\s*(.*)"):
            yield name


def _line(path: Path, pattern: str) -> str:
    """Return what a pattern's first group matches in a file, or an empty text."""
    try:
        match = re.search(pattern, path.read_text())
    except OSError:
        return ""
    return match[1].strip() if match else ""
