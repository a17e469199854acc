"""The origin of a number: commit, command, versions, machine, environment."""

import hashlib
import json
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from pipeline.artefacts.facts import Commit, Provenance
from pipeline.runtime.device import processor
from pipeline.runtime.environment import COMMAND
from pipeline.runtime.variables import recorded

TOP = Path(__file__).resolve().parents[2]
CODE = ("pipeline", "slurm")  # our packages
COMMIT_FILE = "commit.json"
# all packages that compute, decode, store or start; CUDA's libraries where installed
PACKAGES = (
    "going-deeper",
    "torch",
    "torchvision",
    "triton",
    "timm",
    "accelerate",
    "datasets",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "simplejpeg",
    "pyarrow",
    "safetensors",
    "submitit",
    "wandb",
    *(f"nvidia-{name}" for name in ("cublas", "cudnn-cu13", "nccl-cu13")),
    *(f"nvidia-{name}-cu12" for name in ("cublas", "cudnn", "nccl")),
)
DECODERS = ("simplejpeg", "pillow")  # each has a libjpeg-turbo of its own


def collect() -> Provenance:
    """Return the provenance of what this process makes.

    It holds the commit, whether the tree had uncommitted changes, the command, the
    versions, host and time, and the variables that may change last bits.
    """
    code = commit()
    return Provenance(
        commit=code.commit,
        dirty=code.dirty,
        code=code.code,
        command=os.environ.get(COMMAND, shlex.join(sys.argv)),
        python=platform.python_version(),
        versions=dict(versions()),
        environment=dict(recorded()),
        host=socket.gethostname(),
        machine=f"{processor()}, {os.cpu_count()} cores",
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of all packages that numbers depend on, by name.

    No package is imported for that.
    """
    numbers = {}
    for name in PACKAGES:
        try:
            numbers[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    for name in DECODERS:
        if version := _libjpeg_turbo(name):
            numbers[f"libjpeg-turbo of {name}"] = version
    return numbers


def _libjpeg_turbo(package: str) -> str:
    """Return the version of a package's own libjpeg-turbo; empty without one."""
    for file in metadata.files(package) or ():
        if "jpeg" in file.name and ".so" in file.name:
            content = Path(str(file.locate())).read_bytes()
            if match := re.search(rb"libjpeg-turbo version ([\d.]+)", content):
                return match[1].decode()
    return ""


@cache
def commit() -> Commit:
    """Return the commit of this code; "unknown" outside a git checkout.

    A copy of the code carries its commit in a file. Where no commit names the code
    that runs, a digest does.
    """
    if (TOP / COMMIT_FILE).is_file():
        return Commit.load((TOP / COMMIT_FILE).read_bytes())

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(TOP), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    name, dirty = "unknown", False
    try:
        if Path(git("rev-parse", "--show-toplevel")) == TOP:
            name = git("rev-parse", "HEAD")
            dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        pass
    is_exact = name != "unknown" and not dirty
    return Commit(commit=name, dirty=dirty, code=None if is_exact else digest_of_code(sources()))


def sources() -> dict[str, bytes]:
    """Return the files of our packages, by path."""
    return {
        path.relative_to(TOP).as_posix(): path.read_bytes()
        for package in CODE
        for path in _files(TOP / package)
    }


def digest_of_code(files: Mapping[str, bytes]) -> str:
    """Return 16 hex digits that stand for the contents of files."""
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]


def _files(package: Path) -> Iterable[Path]:
    return sorted(
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
