"""Whatever is typed: help, or one line and exit code 2, before any work."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from pipeline.commands import benchmark, evaluate
from pipeline.commands.main import COMMANDS, commands
from pipeline.configs.experiment import load_study
from pipeline.errors import InputError
from pipeline.stages import prepare
from slurm.site import load_site
from tests.commands import in_process
from tests.faults.campaign import amount

VALUES = (
    "",
    "0",
    "-1",
    "2",
    "9" * 20,
    "9" * 5000,
    "1e308",
    "1_000",
    "nan",
    "inf",
    "1,2,3",
    "nan,1,2",
    "0,0,0",
    "1e400,1,2",
    "\u2028",
    "a\nb",
    "\udcff",
    "é",
    "x" * 50_000,
    "--",
    "-",
    "=",
    "../..",
    "/dev/zero",
    "/dev/null",
    "nowhere",
    "README.md",
    "tests",
    "experiments/demo.py",
    "slurm/sites/local.toml",
    "digits",
    "ilsvrc2012",
    "hub",
    "googlenet",
    "timm:resnet18",
    "torchvision:googlenet",
    "python:f",
    "experiments/demo.py:f",
    "crops_1,crops_10",
    "crops_144,,",
    "R7",
    "rgb",
    "fp32",
    "%s%n",
    "*",
)
EXPERIMENTS = sorted(f"experiments/{path.name}" for path in Path("experiments").glob("*.py"))


class Stopped(InputError):
    """All was valid: the work would begin."""


def stop(*arguments: object, **named: object) -> None:
    raise Stopped("valid")


def validate(experiment: Path, arguments: tuple[str, ...], **options: Any) -> None:
    """Do what the commands on a study do before any work."""
    study = load_study(experiment, arguments)
    if options.get("site"):
        load_site(options["site"])
    if "member" in options:
        study.trained_member(options["member"])
    stop()


def leaves(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, *names, name)
        else:
            yield (*names, name), command


LEAVES = dict(leaves(commands))
TIMED = ("evaluate", "prepare", "train")  # the benchmarks that go by one function
WITH_CHECKS = {("data", "prepare"), ("evaluate",), *[("benchmark", name) for name in TIMED]}


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command ends where its work would begin."""
    for words, command in LEAVES.items():
        takes_study = any(parameter.name == "experiment" for parameter in command.params)
        callback: Callable[..., None] = validate if takes_study else stop
        if words not in WITH_CHECKS:
            monkeypatch.setattr(command, "callback", callback)
    monkeypatch.setattr(prepare, "prepare", stop)
    monkeypatch.setattr(evaluate, "run_missing", stop)
    benchmarks = {f"benchmark_{name}": stop for name in TIMED}
    monkeypatch.setattr(benchmark, "import_module", lambda name: SimpleNamespace(**benchmarks))


def a_line(rng: random.Random) -> list[str]:
    """Return words of a command line: a command, options of it, and values of all
    kinds.
    """
    words, command = rng.choice(list(LEAVES.items()))
    line: list[str] = list(words)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            takes_study = parameter.name == "experiment"
            likely = EXPERIMENTS if takes_study and rng.random() < 0.8 else VALUES
            if parameter.name != "arguments":
                line.append(rng.choice(likely))
        elif parameter.required or rng.random() < 0.2:
            line.append(rng.choice(parameter.opts))
            if not getattr(parameter, "is_flag", False):
                line.append(rng.choice(VALUES))
    for option in ("--members", "--seeds", "--epochs", "--precision", "--data", "--arms"):
        if rng.random() < 0.15:
            line += [option, rng.choice(VALUES)]
    if rng.random() < 0.3:
        line.insert(rng.randrange(len(line) + 1), rng.choice((*VALUES, "--help", *COMMANDS)))
    return line


@pytest.mark.usefixtures("no_work")
def test_fuzzed_lines_are_help_or_one_line(tmp_path: Path) -> None:
    valid, slowest = 0, (0.0, 0)
    in_process("plan", "experiments/demo.py", "--root", tmp_path)  # imports
    for seed in range(amount(150, 1000)):
        line = a_line(random.Random(seed))
        started = time.perf_counter()
        ended = in_process(*line)
        slowest = max(slowest, (time.perf_counter() - started, seed))
        assert "Traceback" not in ended.stderr, (seed, line, ended.stderr)
        assert ended.returncode in (0, 2), (seed, line, ended.stderr)
        if ended.returncode == 2:
            assert ended.stderr.startswith("going-deeper: "), (seed, line)
            assert ended.stderr.count("\n") == 1, (seed, line, ended.stderr)
        valid += ended.stderr == "going-deeper: valid\n"
    print(f"{valid} valid, the slowest {slowest}")
    assert valid > 5
    assert slowest[0] < 2


def test_every_number_of_every_command_has_bounds() -> None:
    """A plain int is bounded by the config that it goes into."""
    by_config = {"input_size", "shorter_side", "shard_mib", "member", "epochs", "width"}
    for words, command in LEAVES.items():
        for parameter in command.params:
            kind = parameter.type
            if isinstance(kind, click.IntRange):
                assert None not in (kind.min, kind.max), (words, parameter.name)
            else:
                is_number = kind in (click.INT, click.FLOAT)
                assert not is_number or parameter.name in by_config, (words, parameter.name)
