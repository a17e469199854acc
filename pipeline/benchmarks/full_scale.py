"""Time and memory of a whole study's bookkeeping at full scale, a process a step.

Nothing is trained or classified (synthetic.py): these are the costs around it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageFailed

ARCHIVES = "archives"


class Cost(NamedTuple):
    """What a step took.

    It is seconds, those of all cores, its largest process in MB, and MB that it read.
    What is memory-mapped counts as memory where it was touched, and not as read.
    """

    step: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    read_mb: float


class Size(NamedTuple):
    """What is made: images, and trainings of so many epochs of ILSVRC-2012."""

    num_train: int = ILSVRC2012_IMAGES["train"]
    num_val: int = ILSVRC2012_IMAGES["val"]
    epochs: float = 250  # as experiments/table3.py


Step = Callable[[Study, Path, Size], None]


def full_scale(size: Size, folder: Path | None = None) -> Iterator[Cost]:
    """Make artefacts of a size below `folder`, and yield the cost of each step.

    They are removed, as are those that an interrupted run left there.

    Raises:
        StageFailed: a step failed.
    """
    with tempfile.TemporaryDirectory(prefix="full-scale-", dir=folder) as root:
        for step in STEPS:
            command = [sys.executable, "-m", __name__, step, root, *map(str, size)]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                check=False,
                text=True,
                env=os.environ | {"WANDB_MODE": "offline"},
            )
            if done.returncode:
                raise StageFailed(f"full scale: step {step} failed")
            if step in TIMED:
                yield Cost(step, *json.loads(done.stdout.splitlines()[-1]))


def text(costs: Iterator[Cost]) -> Iterator[str]:
    """Yield the lines of a table, each as soon as it is known."""
    yield f"{'step':10} {'seconds':>9} {'cores':>9} {'peak MB':>9} {'read MB':>9}"
    for step, seconds, cores, peak, read in costs:
        yield f"{step:10} {seconds:9.1f} {cores:9.1f} {peak:9.0f} {read:9.0f}"


def _archives(_: Study, root: Path, size: Size) -> None:
    from pipeline.benchmarks.synthetic import write_archives

    write_archives(root / ARCHIVES, size.num_train, size.num_val)


def _prepare(study: Study, root: Path, _: Size) -> None:
    from pipeline.stages.prepare import prepare

    # in this process, whose memory is measured
    prepare(_members(study)[0].data, root, processes=1)


def _of_data(step: str) -> Step:
    """Return a step of data_steps.py, which is imported when it is done."""

    def do(study: Study, root: Path, _: Size) -> None:
        from pipeline.benchmarks import data_steps

        getattr(data_steps, step)(_members(study)[0].data, root)

    return do


def _runs(study: Study, root: Path, _: Size) -> None:
    from pipeline.benchmarks.synthetic import seal_run

    first = None
    for run in _trainings(study):
        first = seal_run(run, root, first)


def _chunks(study: Study, root: Path, _: Size) -> None:
    from pipeline.benchmarks.synthetic import merge, write_chunks

    first, *others = _members(study)
    for seed, member in enumerate(others):
        write_chunks(member, root, seed)
        merge(member, root)
    write_chunks(first, root, len(others))


def _merge(study: Study, root: Path, _: Size) -> None:
    from pipeline.benchmarks.synthetic import merge

    merge(_members(study)[0], root)


def _ensemble(study: Study, root: Path, _: Size) -> None:
    from pipeline.stages.ensemble import ensemble

    for result in study.check.results:
        ensemble(result, root)


def _compare(study: Study, root: Path, _: Size) -> None:
    from pipeline.stages.compare import compare

    for comparison in study.comparisons:
        compare(comparison, root)


def _check(study: Study, root: Path, _: Size) -> None:
    from pipeline.stages.check import check

    check(study.check, root)


def _status(_: Study, root: Path, size: Size) -> None:
    """Run the command, as the launcher's files may not be imported here."""
    from pipeline.benchmarks.synthetic import EXPERIMENT

    experiment = root / "experiment.py"
    experiment.write_text(EXPERIMENT.format(root / ARCHIVES, size.epochs))
    command = [sys.executable, "-m", "pipeline", "status", str(experiment), "--root", str(root)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def _progress(study: Study, root: Path, _: Size) -> None:
    from pipeline.stages.progress import report_progress

    report_progress(study, root, [])


def _report(study: Study, root: Path, _: Size) -> None:
    from pipeline.stages.report import report

    report(study, root)


def _recount(study: Study, root: Path, _: Size) -> None:
    from pipeline.tools.recount import recount

    _count, problems = recount(study, root)
    if problems:
        raise StageFailed(problems[0])


def _publish(study: Study, root: Path, _: Size) -> None:
    from pipeline.tools.recount import publish

    publish(study, root, root / "published")


def _sync(study: Study, root: Path, _: Size) -> None:
    """Look what W&B lacks of each training: the reading, without a server."""
    from pipeline.tracking import page

    for run in _trainings(study):
        page.begin(run, root).is_delivered(root)


def _members(study: Study) -> tuple[EvaluateConfig, ...]:
    return study.check.results[0].members


def _trainings(study: Study) -> list[TrainConfig]:
    return [study.trained_member(number) for number in range(len(_members(study)))]


STEPS: dict[str, Step] = {
    "archives": _archives,
    "prepare": _prepare,
    "verify": _of_data("verify_data"),
    "leaks": _of_data("look_for_leaks"),
    "open": _of_data("open_splits"),
    "runs": _runs,
    "chunks": _chunks,
    "status": _status,
    "merge": _merge,
    "ensemble": _ensemble,
    "compare": _compare,
    "check": _check,
    "progress": _progress,
    "report": _report,
    "recount": _recount,
    "publish": _publish,
    "sync": _sync,
}
# the others make what these need
TIMED = [name for name in STEPS if name not in ("archives", "runs", "chunks")]


def _main(step: str, root: Path, size: Size) -> None:
    """Do a step, and print its cost as the last line."""
    from pipeline.benchmarks.synthetic import full_study

    study = full_study(root / ARCHIVES, size.epochs)
    started, worked = time.monotonic(), time.process_time()
    STEPS[step](study, root, size)
    seconds = time.monotonic() - started
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cores = time.process_time() - worked + children.ru_utime + children.ru_stime
    peak = max(_of_process("status", "VmHWM"), children.ru_maxrss) / 1e3
    print(json.dumps([seconds, cores, peak, _of_process("io", "rchar") / 1e6]))


def _of_process(file: str, name: str) -> int:
    """Return a number that the kernel keeps of this process."""
    lines = Path(f"/proc/self/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    _main(
        sys.argv[1],
        Path(sys.argv[2]),
        Size(int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])),
    )
