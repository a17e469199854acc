"""going-deeper selftest: what is whole passes, what is wrong is named, and a bare
machine has all that it imports.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.artefacts import sealing
from pipeline.artefacts.selftest_facts import Figure, SealedSelftest
from pipeline.errors import StageFailed
from pipeline.models import operators, pool
from pipeline.paper.layers import LocalResponseNorm
from pipeline.runtime import ranks
from pipeline.selftest import network
from pipeline.selftest.checks import Bench, Check, plain_cpu
from pipeline.selftest.selftest import IN_RANKS, within
from pipeline.tools import carry
from tests.commands import TOP, in_process

TINY = ("selftest", "--device", "cpu", "--input-size", 42, "--width", 0.125)
LISTED = {  # what the machine has: the packages of the issue, and what they need
    *("torch", "torchvision", "timm", "accelerate", "numpy", "scipy", "pillow", "pyarrow"),
    *("safetensors", "click", "jinja2", "psutil", "pyyaml", "huggingface-hub"),
}
HIDE = '''
"""Hide all packages but those of a bare machine from this Python and its forks."""
import sys
from importlib.machinery import PathFinder

HIDDEN = set({hidden!r})

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = path is None and name.partition(".")[0] in HIDDEN
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Bare if each is PathFinder else each for each in sys.meta_path]
'''


def needs(names: set[str]) -> set[str]:
    """Return packages and, to the bottom, what they need here."""
    known, waiting = set[str](), {str(canonicalize_name(name)) for name in names}
    while waiting:
        known.add(name := waiting.pop())
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.add(str(canonicalize_name(requirement.name)))
        waiting -= known
    return known


def test_a_bare_machine_lacks_nothing_that_is_carried() -> None:
    """What carried packages need is carried too, or was there."""
    missing = needs(set(carry.CARRIED)) - set(carry.CARRIED) - needs(LISTED)
    assert missing == set()


@pytest.mark.slow
@pytest.mark.processes
def test_all_passes_where_only_the_listed_packages_are(tmp_path: Path) -> None:
    """Every check on the CPU but what compiles; the speed takes too long here."""
    packages = needs(LISTED) | set(carry.CARRIED) | {"going-deeper"}
    hidden = {
        module
        for module, names in metadata.packages_distributions().items()
        if not {str(canonicalize_name(name)) for name in names} & packages
    }
    assert hidden >= {"wandb", "datasets", "submitit", "altair", "pandas", "onnx"}
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=sorted(hidden)))
    root = tmp_path / "root"
    groups = ("network", "crops", "training", "stages", "ranks")
    only = [word for group in groups for word in ("--only", group)]
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, TINY), *only, "--root", str(root)],
        cwd=TOP,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    facts = read(root)
    outcomes = {check.name: check.outcome for check in facts.checks}
    skipped = {name for name, outcome in outcomes.items() if outcome != "passed"}
    assert skipped == {f"{form}{p}{more}" for p in ("tf32", "fp16") for form, more in FORMS}
    assert "WANDB" not in ended.stderr
    page = next(root.glob("benchmarks/*/selftest.html")).read_text()
    assert all(name in page for name in outcomes)
    assert f"{len(outcomes) - 4} passed, 0 failed, 4 not run" in ended.stdout


FORMS = (("", " near fp32"), ("20 steps in ", ""))


def read(root: Path) -> SealedSelftest:
    (path,) = root.glob("benchmarks/*/benchmark.json")
    what, facts = sealing.read_benchmark(path)
    assert what == "selftest"
    assert isinstance(facts, SealedSelftest)
    return facts


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run what ranks run in this process, so that a test can break it."""

    def launch(function: Callable[..., object], number: int, *arguments: Any) -> None:
        assert number == 1
        function(*arguments)

    monkeypatch.setattr(ranks, "launch", launch)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("here")
def test_a_wrong_operator_fails_its_checks_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Response norms that are off by a thousandth; then one check raises."""
    call = pool._call

    def wrong(function: str, x: Any, tensors: Any, stride: int, norm: str, alpha: float) -> None:
        call(function, x, tensors, stride, norm, alpha)
        if function == "pool" and norm != "none":
            tensors[1].mul_(1.001)

    monkeypatch.setattr(pool, "_call", wrong)

    def raises(bench: Bench) -> Iterator[Figure]:
        yield Figure(what="loss", value=math.nan, most=1.0)
        raise RuntimeError("CUDA error:\nan illegal access")

    checks = [*network.CHECKS[:3], Check("raises", "A check that raises.", raises)]
    monkeypatch.setitem(IN_RANKS, "network", [*checks, network.CHECKS[4]])
    ended = in_process(*TINY, "--only", "network", "--root", tmp_path)
    assert ended.returncode == 3
    assert ended.stderr.endswith("3 of 5 checks failed: outputs, gradients, raises\n")
    assert re.search(r"^failed +network +outputs ", ended.stdout, re.MULTILINE)
    facts = {check.name: check for check in read(tmp_path).checks}
    assert facts["outputs"].why.startswith("main: largest difference over the largest logit: 0.00")
    assert math.isnan(facts["raises"].figures[0].value)
    assert facts["raises"].why == "RuntimeError: CUDA error:"
    assert facts["bf16 near fp32"].outcome == "passed"
    page = next(tmp_path.glob("benchmarks/*/selftest.html")).read_text()
    assert "3 failed" in page
    assert "beyond" in page
    verified = in_process("verify", "--root", tmp_path)
    assert (verified.returncode, verified.stdout) == (0, "1 artefacts checked, no problems\n")


def test_a_group_that_dies_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(function: object, number: int, *arguments: object) -> None:
        raise StageFailed("rank 0 was killed (SIGKILL)")

    monkeypatch.setattr(ranks, "launch", launch)
    ended = in_process(*TINY, "--only", "crops", "--only", "speed", "--root", tmp_path)
    assert ended.returncode == 3
    facts = read(tmp_path)
    assert {check.outcome for check in facts.checks} == {"failed"}
    assert {check.why for check in facts.checks if check.group == "crops"} == {
        "rank 0 was killed (SIGKILL)"
    }
    assert {check.group for check in facts.checks} == {"crops", "speed"}


@pytest.mark.processes
def test_a_rank_that_hangs_is_ended() -> None:
    """Its traceback is on the screen, and the next group has its turn."""
    started = time.monotonic()
    with pytest.raises(StageFailed, match="rank 0 ended with exit code 1"):
        ranks.launch(within, 1, time.monotonic(), time.sleep, 3600)
    assert time.monotonic() - started < 60


@pytest.mark.usefixtures("here")
def test_what_does_not_fit_is_not_run(tmp_path: Path) -> None:
    ended = in_process(*TINY, "--only", "crops", "--minutes", 1e-6, "--root", tmp_path)
    assert ended.returncode == 3
    assert ended.stderr.endswith("no check was run in 1e-06 minutes\n")
    (check, *_) = read(tmp_path).checks
    assert (check.outcome, check.why) == (
        "not run",
        "1e-06 minutes were over",
    )


def test_a_figure_that_is_no_number_does_not_pass() -> None:
    assert not Figure(what="loss", value=math.nan, most=1.0).passes
    assert Figure(what="loss", value=1.0, most=1.0).passes
    assert Figure(what="speed", value=1e9).passes


def test_the_reference_has_no_operator_of_ours() -> None:
    """Else the CPU would be compared with itself."""
    with plain_cpu() as cpu:
        net = torch.nn.Sequential(LocalResponseNorm(8), torch.nn.MaxPool2d(3, 1, 1))
        assert not operators.use_operators(net, cpu)


def test_wrong_input_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for words, message in (
        (("--device", "cuda"), "this machine has no GPU; --device cpu tests its cores"),
        (("--input-size", 43), "input_size = 43: Input should be a multiple of 14"),
        (("--carry", tmp_path), f"{tmp_path}: exists; --carry takes a new folder"),
    ):
        wrong = in_process("selftest", *words)
        assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
        assert message in wrong.stderr


@pytest.mark.processes
def test_a_carried_folder_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own packages and ours are found wherever it is started."""

    def wheels(folder: Path, python: str) -> list[Path]:
        folder.mkdir()
        with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
            wheel.writestr("carried_package.py", "")
            wheel.writestr("carried/tests/test_it.py", "")
        return [folder / "a.whl"]

    monkeypatch.setattr(carry, "_wheels", wheels)
    folder = tmp_path / "carried"
    shown = in_process("selftest", "--carry", folder)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.endswith("there: python carried/selftest.py --device cuda\n")
    assert sorted(path.name for path in folder.iterdir()) == ["code", "packages", "selftest.py"]
    assert [path.name for path in (folder / "packages").iterdir()] == ["carried_package.py"]
    ended = subprocess.run(
        [sys.executable, folder / "selftest.py", "--device", "none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "'none' is not one of 'cpu', 'cuda'" in ended.stderr
    commit = json.loads((folder / "code/commit.json").read_text())
    assert re.fullmatch("[0-9a-f]{16}", commit["code"])
