"""Works run side by side, end together, and pass signals on."""

import os
import signal
import threading
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.demo import experiment
from pipeline.commands.local import ranks_of, refuse_processes
from pipeline.configs import EvaluateConfig, TrainConfig, table3
from pipeline.configs.optimizer import LocalSGDConfig
from pipeline.errors import InputError, StageEnded, StageFailed
from pipeline.runtime import ranks, side_by_side

pytestmark = pytest.mark.processes


@given(st.integers(1, 9), st.integers(1, 9), st.sets(st.integers(1, 9), min_size=1))
def test_no_other_number_of_ranks_ends_sooner(works: int, most: int, valid: set[int]) -> None:
    """Among the valid ones; with one process for each work there is one rank each."""
    number = side_by_side.fastest_ranks(works, most, sorted(valid))
    assert number in valid
    if works == 1:
        assert min(number, most) == min(max(valid), most)
    if most >= works * max(valid):
        assert number == max(valid)


def meet(folder: Path, name: str, others: int) -> None:
    """End once so many works have begun."""
    (folder / f"{name}-{os.environ['LOCAL_RANK']}-{os.environ['LOCAL_WORLD_SIZE']}").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < others:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_as_many_run_at_once_as_there_is_place_for(tmp_path: Path) -> None:
    """Each has a place of its own, and says among how many; the third waits for one."""
    works = [partial(meet, tmp_path, *each) for each in (("a", 4), ("b", 4), ("c", 6))]
    side_by_side.run(works, 2, 4)
    places = sorted(path.name.split("-", 1)[1] for path in tmp_path.iterdir())
    assert places in (
        [f"{n}-4" for n in (0, 0, 1, 1, 2, 3)],
        [f"{n}-4" for n in (0, 1, 2, 2, 3, 3)],
    )


def say_and_wait(path: Path) -> None:
    def end(*_: object) -> None:
        path.with_suffix(".saved").touch()
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, end)
    path.touch()
    time.sleep(60)


def fail_beside(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)
    raise InputError("a wrong member")


def begin(path: Path) -> None:
    path.touch()


def test_a_failure_ends_the_others_which_save(tmp_path: Path) -> None:
    works = (
        partial(say_and_wait, tmp_path / "first"),
        partial(fail_beside, tmp_path / "first"),
        partial(begin, tmp_path / "third"),
    )
    with pytest.raises(InputError, match="a wrong member"):
        side_by_side.run(works, 1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "first.saved"]


def test_a_signal_reaches_all(tmp_path: Path) -> None:
    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send).start()
    works = [partial(say_and_wait, tmp_path / name) for name in "abc"]
    with pytest.raises(StageEnded, match="SIGTERM"):
        side_by_side.run(works, 1, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.saved", "b", "b.saved"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_work_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"rank 0 was killed \(SIGKILL\)"):
        side_by_side.run([die, partial(say_and_wait, tmp_path / "a")], 1, 2)


def test_a_training_s_ranks_depend_on_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on what is missing; on GPUs each training has all."""
    for members, on_cores, on_gpus in ((1, 2, 2), (2, 1, 2), (3, 2, 2)):
        study = experiment(members=members)
        training = next(c for c in study.stages if isinstance(c, TrainConfig))
        for num_gpus, expected in ((0, on_cores), (2, on_gpus)):
            monkeypatch.setattr(ranks, "num_gpus", lambda number=num_gpus: number)
            assert ranks_of(training, study, 2) == expected


def test_one_training_s_batch_must_be_shared_and_several_need_not_be() -> None:
    for members in (1, 2):
        study = experiment(members=members)
        said = pytest.raises(InputError, match="--processes 3") if members == 1 else nullcontext()
        with said:
            refuse_processes(study, study.stages, 3)
    base = next(c for c in study.stages if isinstance(c, TrainConfig))
    apart = base.but(local_sgd=LocalSGDConfig(workers=4, steps=2))
    runs = [apart.but(data_seed=seed) for seed in range(2)]
    several = study.but(
        check=study.check.but(
            results=table3(tuple(EvaluateConfig(data=base.data, classifier=run) for run in runs))
        )
    )
    with pytest.raises(InputError, match=r"shared equally by 4 ranks \(local_sgd.workers\)"):
        refuse_processes(several, several.stages, 2)
