"""Whatever kills a training, and whenever: it ends with the bits of one that nothing
disturbed.
"""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artefacts.run import Run
from pipeline.configs.optimizer import LocalSGDConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageFailed
from tests.sealed import MACHINE, run_facts
from tests.stages import trained

pytestmark = pytest.mark.processes

KILLS = 20
STEPS = 100


@pytest.fixture
def long_run(run_config: TrainConfig) -> TrainConfig:
    """100 steps; a checkpoint every 3 steps, validation every 33."""
    return run_config.but(
        clip_norm=1.0,
        num_epochs=STEPS / 3,
        validate_every_epochs=11,
        checkpoint_every_steps=3,
        checkpoint_every_seconds=1e9,
    )


def undisturbed(
    world_size: int, config: TrainConfig, root: Path
) -> tuple[dict[str, str], list[dict[str, object]], Path]:
    trace = root / "undisturbed.jsonl"
    trained.run(world_size, config, root, trace)
    outcome = trained.final(config, root), trained.rows(config, root), trace
    shutil.rmtree(root / config.folder)
    return outcome


@pytest.mark.slow  # twenty starts, and each step more than once
@pytest.mark.parametrize("world_size", [1, 2])
def test_twenty_kills_of_a_random_rank_leave_no_trace(
    root: Path, long_run: TrainConfig, world_size: int
) -> None:
    """SIGKILL to one rank at a random step; the others end by themselves. Each step has
    the same batch and the same losses.
    """
    weights, rows, reference = undisturbed(world_size, long_run, root)
    rng = random.Random(world_size)
    trace = root / "killed.jsonl"
    num_kills = 0
    for kill in range(KILLS):
        before = trained.size(trace)
        target = rng.randint(kill * 5, kill * 5 + 4)  # spread over the 100 steps
        processes = trained.start(world_size, long_run, root, trace)

        def reached(before: int = before, target: int = target) -> bool:
            return any(step["step"] >= target for step in trained.steps(trace, before))

        trained.wait(processes, reached)
        time.sleep(rng.uniform(0, 0.02))
        victim = rng.choice(processes)
        num_kills += victim.is_alive()
        os.kill(victim.pid or 0, signal.SIGKILL)
        trained.wait(processes)
        assert victim.exitcode == -signal.SIGKILL
    assert num_kills == KILLS
    trained.run(world_size, long_run, root, trace)
    assert trained.final(long_run, root) == weights
    assert trained.rows(long_run, root) == rows
    expected = {step["step"]: step for step in trained.steps(reference)}
    steps = trained.steps(trace)
    assert len(expected) == STEPS
    assert len(steps) > STEPS  # some were done twice,
    assert all(step == expected[step["step"]] for step in steps)  # with the same batch and losses
    assert {step["step"] for step in steps} == expected.keys()
    sealed = json.loads((root / long_run.folder / "run.json").read_text())
    assert sealed["attempts"] == KILLS + 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_notice_is_obeyed_between_two_steps(
    root: Path, long_run: TrainConfig, number: signal.Signals
) -> None:
    """The training is saved at that very step, although no save was due, and the run
    goes on from there.
    """
    config = long_run.but(checkpoint_every_steps=None, num_epochs=20)
    weights, rows, _ = undisturbed(2, config, root)
    trace = root / "noticed.jsonl"
    processes = trained.start(2, config, root, trace)
    # behind the validation at step 33
    trained.wait(processes, lambda: len(trained.steps(trace)) >= 42)
    trained.end(processes, number)
    assert processes[0].exitcode == 128 + number
    last = trained.steps(trace)[-1]["step"]
    assert (root / config.folder / f"checkpoints/step_{last:08d}").is_dir()
    trained.run(2, config, root, trace)
    # none was done twice
    assert [step["step"] for step in trained.steps(trace)] == list(range(1, 61))
    assert trained.final(config, root) == weights
    assert trained.rows(config, root) == rows


@pytest.mark.slow  # three trainings on two ranks
def test_local_sgd_is_resumed_bit_for_bit(root: Path, long_run: TrainConfig) -> None:
    """Two ranks that average every fourth step; a notice is obeyed at the next
    averaging.
    """
    config = long_run.but(
        local_sgd=LocalSGDConfig(workers=2, steps=4), num_epochs=20, checkpoint_every_steps=None
    )
    weights, rows, reference = undisturbed(2, config, root)
    trace = root / "local.jsonl"
    processes = trained.start(2, config, root, trace)
    trained.wait(processes, lambda: len(trained.steps(trace)) >= 21)
    trained.end(processes, signal.SIGTERM)
    assert trained.steps(trace)[-1]["step"] % 4 == 0
    trained.run(2, config, root, trace)
    assert trained.steps(trace) == trained.steps(reference)
    assert trained.final(config, root) == weights
    assert trained.rows(config, root) == rows


def test_a_stale_attempt_cannot_write(root: Path, run_config: TrainConfig) -> None:
    """Where a lock did not hold, the newer attempt goes on, and the older one is
    stopped at its next write.
    """
    config = run_config
    stale, fresh = Run(config, root), Run(config, root)
    stale.claim(MACHINE, "")
    stale.log({"step": 1})
    fresh.claim(MACHINE, "")
    writes: list[Callable[[], object]] = [
        lambda: stale.log({"step": 2}),
        lambda: stale.save_checkpoint(2, {"step": 2}),
        stale.mark_metrics,
        lambda: stale.write_postmortem({}),
        lambda: stale.finish({}, run_facts(), ""),
    ]
    for write in writes:
        with pytest.raises(
            StageFailed, match=f"attempt 1 stops, as attempt 2 took over: process {os.getpid()} on "
        ):
            write()
    fresh.log({"step": 2})
    fresh.save_checkpoint(2, {"step": 2})
    assert [row["step"] for row in fresh.metrics()] == [1, 2]
    assert [path.name for path in (root / config.folder / "checkpoints").iterdir()] == [
        "step_00000002"
    ]
    assert not (root / config.folder / "run.json").exists()
    attempt = json.loads((root / config.folder / "attempts/000002.json").read_text())
    assert {
        "host",
        "process",
        "job",
        "command",
        "commit",
        "versions",
        "started_at",
        "config",
    } <= attempt.keys()
