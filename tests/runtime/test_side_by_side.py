"""Works run side by side, end together, and pass signals on."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError, StageEnded, StageFailed
from pipeline.runtime import side_by_side

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
    ranks = sorted(path.name.split("-", 1)[1] for path in tmp_path.iterdir())
    assert ranks in ([f"{n}-4" for n in (0, 0, 1, 1, 2, 3)], [f"{n}-4" for n in (0, 1, 2, 2, 3, 3)])


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
