"""The self-test: groups of checks, each in processes of its own, and its artefact.

A group that dies or hangs fails its own checks alone: each check is written down when
it ends, and a clock in every rank ends what does not.
"""

import faulthandler
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipeline.artefacts import sealing
from pipeline.artefacts.selftest_facts import CheckFacts, SelftestFacts
from pipeline.configs.selftest import SelftestConfig
from pipeline.errors import Bug, ExpectedError, StageFailed
from pipeline.reporting.wording import templates
from pipeline.runtime import disk, environment, process_group
from pipeline.selftest import crops, network, sharing, speed, stages, training
from pipeline.selftest.checks import Bench, Check, NotRun, failure, run

GRACE_SECONDS = 120.0  # ours: a check that hangs is ended so long after the last minute
RANKS_SECONDS = 180.0  # ours: a rank that waits for another would wait for ever
CONFIG, HARDWARE, PAGE = "config.json", "hardware.json", "selftest.html"
IN_RANKS: dict[str, Sequence[Check]] = {
    "network": network.CHECKS,
    "crops": crops.CHECKS,
    "reference": training.REFERENCE_CHECKS,
    "training": training.CHECKS,
    "one rank": sharing.ALONE_CHECKS,
    "ranks": sharing.CHECKS,
    "compiled": (*crops.COMPILED_CHECKS, *training.COMPILED_CHECKS),
}
BEFORE = {"training": ("reference",), "ranks": ("one rank",)}  # what a group compares with
FIRST = ("network", "crops", "training")
SHARED, ON_CPU = "ranks", "reference"  # the groups on all ranks, and without a GPU
Launch = Callable[..., None]


def selftest(config: SelftestConfig, root: Path, launch: Launch) -> SelftestFacts:
    """Run all checks and benchmarks, write benchmarks/<hash>/, and return the facts.

    `launch` runs a function on so many ranks of this machine, with its arguments.
    """
    folder = root / config.folder
    scratch, started = folder / "scratch", time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    scratch.mkdir(parents=True)
    bench = Bench(config, scratch, started + 60 * config.minutes)
    disk.write_atomic(scratch / CONFIG, config.model_dump_json().encode())

    def timed(function: Callable[..., object], ranks: int, *arguments: Any) -> None:
        ends_at = bench.ends_at + GRACE_SECONDS
        if ranks > 1:
            ends_at = min(ends_at, time.monotonic() + RANKS_SECONDS)
        launch(within, ranks, ends_at, function, *arguments)

    def quick(function: Callable[..., object], ranks: int, *arguments: Any) -> None:
        try:
            launch(within, ranks, bench.ends_at, function, *arguments)
        except ExpectedError:
            if bench.seconds_left > 0:
                raise
            raise NotRun(f"not done when {config.minutes:g} minutes were over") from None

    try:
        with _compiling_fast(config):
            benchmarks = speed.checks(quick, root)
            parts: tuple[tuple[str, Callable[[], Iterable[CheckFacts]]], ...] = (
                *((name, partial(_in_ranks, name, bench, timed)) for name in FIRST),
                ("stages", partial(_here, "stages", stages.checks(timed), bench)),
                ("ranks", partial(_in_ranks, "ranks", bench, timed)),
                ("speed", partial(_here, "speed", benchmarks[:1], bench)),
                ("compiled", partial(_in_ranks, "compiled", bench, timed)),
                ("speed", partial(_here, "speed", benchmarks[1:], bench)),
            )
            checks = [each for name, part in parts if name in config.groups for each in part()]
        facts = SelftestFacts(
            device=config.device,
            hardware=_hardware(scratch),
            ranks=config.ranks,
            input_size=config.input_size,
            width=config.width,
            minutes=config.minutes,
            seconds=round(time.monotonic() - started, 1),
            checks=checks,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    page = templates().get_template(PAGE).render(title="Self-test", facts=facts)
    disk.write_atomic(folder / PAGE, page.encode())
    sealing.SELFTEST.seal(config, root, [folder / PAGE], facts)
    return facts


def within(ends_at: float, function: Callable[..., object], *arguments: Any) -> None:
    """Call a function in a rank, which ends at a time whatever it does."""
    seconds = max(1.0, ends_at - time.monotonic())
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)
    try:
        function(*arguments)
    finally:
        faulthandler.cancel_dump_traceback_later()


def measure_group(group: str, folder: Path, ends_at: float) -> None:
    """Run the checks of a group in a rank; the first rank writes each down."""
    config = SelftestConfig.model_validate_json((folder / CONFIG).read_bytes())
    accelerator = process_group.join("fp32")
    wanted = "cpu" if group == ON_CPU else config.device
    if accelerator.device.type != wanted:
        raise StageFailed(f"the device is {accelerator.device}; expected {wanted}")
    hardware = process_group.hardware(accelerator)
    if accelerator.is_main_process and group != ON_CPU:
        disk.write_json(folder / HARDWARE, hardware)
    bench = Bench(config, folder, ends_at, accelerator)
    for check in IN_RANKS[group]:
        facts = run(group, check, bench)
        if accelerator.is_main_process:
            _show(facts)
            with (folder / f"{group}.jsonl").open("a") as file:
                file.write(json.dumps(facts.plain()) + "\n")


def _in_ranks(name: str, bench: Bench, launch: Launch) -> Iterator[CheckFacts]:
    """Yield the outcomes of a group and of those that it needs, each in own ranks."""
    for group in (*BEFORE.get(name, ()), name):
        why = "its processes ended without a word"
        try:
            with _on(bench.config, group):
                ranks = bench.config.ranks if group == SHARED else 1
                launch(measure_group, ranks, group, bench.folder, bench.ends_at)
        except (ExpectedError, Bug) as error:
            why = error.last_line if isinstance(error, Bug) else str(error)
            if bench.seconds_left < 0:
                why += f" ({bench.config.minutes:g} minutes were over)"
        yield from _outcomes(group, IN_RANKS[group], bench.folder, why)


def _outcomes(group: str, checks: Sequence[Check], folder: Path, why: str) -> Iterator[CheckFacts]:
    """Yield what a group wrote down; of the others, why there is nothing.

    Those behind the check that ended the group say so too: nothing is known of them.
    """
    path = folder / f"{group}.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    outcomes = TypeAdapter(list[CheckFacts]).validate_json(b"[" + b",".join(lines) + b"]")
    yield from outcomes
    for check in checks[len(outcomes) :]:
        facts = failure(group, check, why)
        _show(facts)
        yield facts


def _here(group: str, checks: Sequence[Check], bench: Bench) -> Iterator[CheckFacts]:
    for check in checks:
        facts = run(group, check, bench)
        _show(facts)
        yield facts


def _show(facts: CheckFacts) -> None:
    line = f"selftest: {facts.outcome:8}{facts.group}: {facts.name}, {facts.seconds:.1f} s"
    print(line + (f" ({facts.why})" if facts.why else ""), file=sys.stderr, flush=True)


def _hardware(folder: Path) -> dict[str, str]:
    path = folder / HARDWARE
    return TypeAdapter(dict[str, str]).validate_json(path.read_bytes()) if path.exists() else {}


@contextmanager
def _on(config: SelftestConfig, group: str) -> Iterator[None]:
    """Hide the GPUs from ranks that compute on the CPU."""
    hidden = config.device == "cpu" or group == ON_CPU
    with _variables({"ACCELERATE_USE_CPU": "1"} if hidden else {}):
        yield


@contextmanager
def _compiling_fast(config: SelftestConfig) -> Iterator[None]:
    """Compile for a GPU on many cores; the stages and benchmarks use the device too."""
    threads = str(max(1, environment.num_cores() // 2))
    more = {"TORCHINDUCTOR_COMPILE_THREADS": threads} if config.device == "cuda" else {}
    with _variables(more), _on(config, ""):
        yield


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
