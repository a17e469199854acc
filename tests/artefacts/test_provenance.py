"""A number's origin: the code where no commit tells it, the versions, the device."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import features

from pipeline.artefacts import provenance
from pipeline.runtime import device
from tests.commands import TOP

PROGRAM = """
import json, sys
from pipeline.artefacts import provenance
print(json.dumps({**provenance.collect().plain(), "imported": list(sys.modules)}))
"""


def of_copy(folder: Path) -> dict[str, Any]:
    """Return the provenance that a copy of our packages gives outside a git checkout,
    like that of a wheel.
    """
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    provenance: dict[str, Any] = json.loads(process.stdout)
    return provenance


def test_code_without_a_commit_has_a_digest(tmp_path: Path) -> None:
    for package in provenance.CODE:
        shutil.copytree(TOP / package, tmp_path / package)
    first = of_copy(tmp_path)
    assert (first["commit"], len(first["code"])) == ("unknown", 16)
    assert not {"torch", "numpy", "PIL", "timm"} & set(first["imported"])
    changed = tmp_path / "pipeline/paper/crops.py"
    changed.write_text(changed.read_text() + "\n")
    assert of_copy(tmp_path)["code"] != first["code"]


def test_versions_are_what_the_libraries_say() -> None:
    """simplejpeg's libjpeg-turbo makes every pixel, Pillow's the rest."""
    versions = provenance.versions()
    assert versions["libjpeg-turbo of pillow"] == features.version("libjpeg_turbo")
    assert versions["libjpeg-turbo of simplejpeg"].count(".") == 2
    assert torch.__version__.startswith(versions["torch"])
    assert versions.keys() >= {"timm", "datasets", "submitit", "simplejpeg", "going-deeper"}


DRIVERS = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.104.05  Release Build",
)


@pytest.mark.parametrize("said", DRIVERS)
def test_a_gpu_is_known_by_name_before_torch_is_imported(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's driver writes the name, and torch adds the facts."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "DRIVER", tmp_path)
    assert device.here() == device.Device("core", device.processor())
    (folder := tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   16\n")
    (tmp_path / "version").write_text(said + "\nGCC version: gcc 12\n")
    assert str(device.here()) == "GPU (NVIDIA H100 80GB HBM3)"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    facts = device.facts(torch.device("cuda"))
    assert facts["name"] == device.here().name
    assert (facts["driver"], facts["capability"]) == ("535.104.05", "9.0")
    assert facts["cuda"] == (torch.version.cuda or "none")
    assert facts.keys() == {"name", "capability", "driver", "cuda", "cudnn", "nccl"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device.here().kind == "core"
