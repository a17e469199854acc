"""The device that computes, by name, with what its last bits depend on."""

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

DRIVER = Path("/proc/driver/nvidia")  # what NVIDIA's driver says of itself and its GPUs


@cache
def processor() -> str:
    """The model of this machine's CPU."""
    return _line(Path("/proc/cpuinfo"), r"model name\s*: (.*)") or platform.machine()


class Device(NamedTuple):
    """What computes: a `core` or a `GPU`, and its model; no name where none is known.
    The rate of one forecasts no other's.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.name})" if self.name else self.kind


def here() -> Device:
    """What a rank would compute on: the first GPU, or else a core. Known without
    torch.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    gpu = None if hidden else next(_gpus(), None)
    return Device("core", processor()) if gpu is None else Device("GPU", gpu)


def facts(device: "torch.device") -> dict[str, str]:
    """A device's `name`; of a GPU also its capability, the driver, CUDA, cuDNN and
    NCCL; of a CPU the instructions that torch uses.
    """
    import torch  # late: reports and looks at a study do without

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


def joined(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Facts of several devices as of one, each value once.

    >>> joined([{"name": "A100"}, {"name": "H100"}, {"name": "A100"}])
    {'name': 'A100, H100'}
    """
    names = dict.fromkeys(name for each in found for name in each)
    return {
        name: ", ".join(dict.fromkeys(each[name] for each in found if name in each))
        for name in names
    }


def _gpus() -> Iterator[str]:
    for folder in sorted(DRIVER.glob("gpus/*")):
        if name := _line(folder / "information", r"Model:\s*(.*)"):
            yield name


def _line(path: Path, pattern: str) -> str:
    """What the first group of a pattern matches in a file; nothing where it does
    not.
    """
    try:
        found = re.search(pattern, path.read_text())
    except OSError:
        return ""
    return found[1].strip() if found else ""
