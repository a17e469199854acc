"""A checkpoint is whole or passed over, whatever happened to its writer or to its
bytes.
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
import torch

from pipeline.artefacts.checkpoints import Checkpoints, load, read_note
from tests.crash_points import contents, deaths
from tests.forks import fork

pytestmark = pytest.mark.processes


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": torch.full((200_000,), float(step))}


def save_for_ever(folder: Path, acknowledged: Path, first: int) -> None:
    checkpoints = Checkpoints(folder)
    with acknowledged.open("a") as file:
        for step in range(first, first + 10_000):
            checkpoints.save(step, state(step), error=None if step % 3 else 1 / step)
            file.write(f"{step}\n")
            file.flush()


def three_saved(folder: Path, damaged: tuple[int, ...] = ()) -> None:
    """Save three checkpoints, of which the first is the best. The checkpoints of the
    steps in `damaged` are damaged; then there is also rubbish of deaths.
    """
    checkpoints = Checkpoints(folder)
    for step, error in ((1, 0.5), (2, None), (3, 0.6)):
        checkpoints.save(step, state(step), error)
    for step in damaged:
        shutil.copytree(folder / "step_00000003", folder / f"step_{step:08d}")
        shutil.copytree(folder / "step_00000001", folder / f".step_{step:08d}")


def go_on(folder: Path, error: float, last: int) -> None:
    """Save the checkpoints after the newest one, up to step `last`. Step 4 was
    validated, step 5 was not.
    """
    checkpoints = Checkpoints(folder)
    newest = checkpoints.newest()
    assert newest is not None
    for step in range(read_note(newest).step + 1, last + 1):
        checkpoints.save(step, state(step), error if step == 4 else None)


@pytest.mark.parametrize(
    ("error", "damaged", "kept"),
    [
        (0.4, (), (4, 5)),  # a new best: the first is no longer needed
        (0.7, (), (1, 4, 5)),
        (0.4, (4, 9), (4, 5)),  # the one to be saved is there, damaged, and so is a newer one
    ],
)
@pytest.mark.usefixtures("unsynced")
def test_a_death_at_any_point_of_a_save(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    error: float,
    damaged: tuple[int, ...],
    kept: tuple[int, ...],
) -> None:
    """What was saved stays, and the best stays the best; the next save leaves the bytes
    that an undisturbed run leaves.
    """
    prepared, undisturbed = tmp_path / "prepared", tmp_path / "undisturbed"
    three_saved(prepared, damaged)
    shutil.copytree(prepared, undisturbed)
    go_on(undisturbed, error, last=5)
    expected = contents(undisturbed)
    assert {name.partition("/")[0] for name in expected} == {f"step_{step:08d}" for step in kept}
    assert len(expected) == 2 * len(kept)
    points, newest_steps = [], []
    for point, folder in deaths(
        prepared, tmp_path / "deaths", lambda folder: go_on(folder, error, last=4)
    ):
        points.append(point)
        checkpoints = Checkpoints(folder)
        newest, best = checkpoints.newest(), checkpoints.best()
        assert newest is not None, point
        assert best is not None, point
        loaded = load(newest)
        assert torch.equal(loaded["weights"], torch.full((200_000,), float(loaded["step"]))), point
        newest_steps.append(loaded["step"])
        for seen in {
            path
            for path in folder.glob("step_*")
            if int(path.name.removeprefix("step_")) not in damaged
        }:
            # none is half there, old ones neither
            assert load(seen)["step"] == read_note(seen).step, point
        assert read_note(best).step == (4 if loaded["step"] >= 4 and error < 0.5 else 1), point
        go_on(folder, error, last=5)
        assert contents(folder) == expected, point
    assert newest_steps == sorted(newest_steps)  # none that was there is lost
    assert set(newest_steps) == {3, 4}
    assert len(points) > 40
    assert ("damaged" in capfd.readouterr().err) == bool(damaged)


def test_twenty_kills_during_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kills come at moments of the machine, amid writes. No checkpoint is unusable
    or half-written, and no acknowledged one is lost.
    """
    folder, acknowledged = tmp_path / "checkpoints", tmp_path / "acknowledged"
    acknowledged.touch()
    rng, checkpoints, newest = random.Random(0), Checkpoints(folder), 0
    for kill in range(20):
        writer = fork(save_for_ever, folder, acknowledged, newest + 1)
        before = acknowledged.stat().st_size
        deadline = time.monotonic() + 30
        while acknowledged.stat().st_size == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))  # a save takes some milliseconds
        assert writer.is_alive(), kill
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        newest_path = checkpoints.newest()
        assert newest_path is not None
        loaded = load(newest_path)
        newest = loaded["step"]
        assert torch.equal(loaded["weights"], torch.full((200_000,), float(newest)))
        assert newest >= int(acknowledged.read_text().split()[-1])
        best = checkpoints.best()
        assert best is None or read_note(best).step == newest // 3 * 3
    assert capsys.readouterr().err == ""


def _flip(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    _flip,
    lambda content, rng: content[: rng.randrange(len(content))],
    lambda content, rng: content + rng.randbytes(1 + rng.randrange(100)),
    lambda content, rng: rng.randbytes(len(content)),
    lambda content, rng: b"",
]


def test_a_hundred_mutated_checkpoints_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(1)
    for number in range(100):
        folder = tmp_path / str(number)
        checkpoints = Checkpoints(folder)
        for step in (1, 2):
            checkpoints.save(step, {"step": step}, error=0.5 / step)
        mutated = folder / "step_00000002"
        path = mutated / ("state.pt" if number % 2 else "checkpoint.json")
        content = path.read_bytes()
        path.write_bytes(changed := MUTATIONS[number // 2 % len(MUTATIONS)](content, rng))
        newest = checkpoints.newest()
        message = capsys.readouterr().err
        if path.name == "checkpoint.json" and _same(changed, content):  # whitespace alone
            assert newest == mutated
            continue
        assert newest == folder / "step_00000001"
        assert (
            message
            == f"{mutated}: checkpoint is damaged, or another training's; trying the one before\n"
        )
        assert checkpoints.best() == folder / "step_00000001"
        checkpoints.save(2, {"step": 2})  # a damaged one is made anew
        assert checkpoints.newest() == mutated


def _same(changed: bytes, content: bytes) -> bool:
    try:
        return bool(json.loads(changed) == json.loads(content))
    except ValueError:
        return False


def test_a_missing_file_or_another_steps_note_is_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step}, error=None)
    first, second = tmp_path / "step_00000002", tmp_path / "step_00000003"
    shutil.copytree(first, tmp_path / "step_00000009")
    (second / "state.pt").unlink()
    assert checkpoints.newest() == first
    assert capsys.readouterr().err.count("checkpoint is damaged") == 2


def test_a_new_beginning_is_not_thrown_away_for_damaged_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training resumes before damaged newest checkpoints, and its new checkpoints are
    kept.
    """
    checkpoints = Checkpoints(tmp_path)
    for step, error in ((60, 0.1), (70, 0.2), (80, None), (90, None)):
        checkpoints.save(step, {"step": step}, error)
    for step in (80, 90):
        (tmp_path / f"step_{step:08d}/state.pt").write_bytes(b"damaged")
    assert checkpoints.newest() == tmp_path / "step_00000060"
    checkpoints.save(65, {"step": 65})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000060", "step_00000065"]
    assert checkpoints.best() == tmp_path / "step_00000060"
    assert capsys.readouterr().err.count("damaged") == 2


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step, error in ((1, 0.5), (2, 0.3), (3, 0.3), (4, None), (5, 0.4), (6, None)):
        checkpoints.save(step, {"step": step}, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_00000002",
        "step_00000005",
        "step_00000006",
    ]
    best = checkpoints.best()
    assert best is not None
    assert load(best) == {"step": 2}
    checkpoints.remove()
    assert checkpoints.newest() is None
    assert checkpoints.best() is None
