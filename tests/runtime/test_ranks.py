"""Ranks start as forks of a server, say why they failed, and end with the process that
launched them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from pipeline.errors import Bug, InputError, StageEnded, StageFailed, TrainingDiverged
from pipeline.runtime import environment, fork_server, ports, ranks
from tests.commands import TOP
from tests.forks import members

pytestmark = pytest.mark.processes
KILLS = int(os.environ.get("GOING_DEEPER_TEST_KILLS", "5"))


def fail(first: Exception, second: Exception) -> None:
    """Fail on one rank, and later on the second, as a rank does for want of another."""
    is_first = os.environ["RANK"] == "0"
    time.sleep(0 if is_first else 0.2)
    raise first if is_first else second


@pytest.mark.parametrize(
    "error",
    [InputError("no such file"), TrainingDiverged("loss is nan"), StageFailed("superseded")],
)
def test_an_expected_error_is_carried_whole(error: Exception) -> None:
    """The launcher raises its kind and its words, whichever rank raised it and whatever
    the other rank says.
    """
    for arguments in (
        (error, RuntimeError("connection closed")),
        (RuntimeError("connection closed"), error),
    ):
        with pytest.raises(type(error)) as raised:
            ranks.launch(fail, 2, *arguments)
        assert (type(raised.value), str(raised.value)) == (type(error), str(error))


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(Bug, match="KeyError: 'step'") as raised:
        ranks.launch(fail, 2, KeyError("step"), RuntimeError("connection closed"))
    assert "in fail" in str(raised.value)
    assert raised.value.last_line == "KeyError: 'step'"


def test_a_file_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(
        StageFailed, match=r"^outputs/x: No space left on device; [\d.]+ MB are free$"
    ):
        ranks.launch(fail, 1, OSError(28, "No space left on device", "outputs/x"), None)


def die(rank: int) -> None:
    if int(os.environ["RANK"]) == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def join() -> None:
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=30))
    torch.distributed.destroy_process_group()


def test_a_port_that_was_taken_meanwhile_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    free = ports.free_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        offered = [other.getsockname()[1], free()]
        monkeypatch.setattr(ports, "free_port", lambda: offered.pop(0))
        ranks.launch(join, 2)
        assert offered == []
        monkeypatch.setattr(ports, "free_port", lambda: other.getsockname()[1])
        with pytest.raises(Bug, match="EADDRINUSE"):
            ranks.launch(join, 2)


def test_a_killed_rank_is_named_and_the_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "GRACE_SECONDS", 0.2)
    with pytest.raises(StageFailed, match=r"rank 1 was killed \(SIGKILL\)"):
        ranks.launch(die, 2, 1)


def end_itself(rank: int, number: int) -> None:
    """Send a signal to one rank; the other fails for want of it."""
    if int(os.environ["RANK"]) == rank:
        os.kill(os.getpid(), number)
        time.sleep(60)
    time.sleep(0.2)
    raise RuntimeError("connection closed")


@pytest.mark.parametrize(
    ("rank", "number", "kind", "words"),
    [
        (0, signal.SIGTERM, StageEnded, "SIGTERM: the ranks have ended, with nothing half-done"),
        (1, signal.SIGABRT, StageFailed, "rank 1 was killed (SIGABRT)"),
        (0, signal.SIGSEGV, StageFailed, "rank 0 was killed (SIGSEGV)"),
    ],
)
def test_the_rank_that_says_nothing_is_the_cause(
    rank: int, number: int, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as raised:
        ranks.launch(end_itself, 2, rank, number)
    assert str(raised.value) == words


def kill_the_server() -> None:
    time.sleep(1)  # until the server has started both ranks
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


ALONE = """
import sys
from datetime import timedelta
from pathlib import Path
from pipeline.errors import StageFailed
from pipeline.runtime import ranks
from tests.runtime import test_ranks
works = ((test_ranks.kill_the_server, ()),
         (test_ranks.note_and_wait_a_little, (sys.argv[1],)))
for function, arguments in works:
    try:
        ranks.launch(function, 2, *arguments)
    except StageFailed as error:
        print(error)
"""


def test_without_its_server_no_rank_goes_on_and_another_serves(tmp_path: Path) -> None:
    """It runs in a process of its own, whose TMPDIR is too long a path for sockets."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(long)}
    ended = subprocess.run(
        command, cwd=TOP, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "the server of the ranks was killed, and they with it\n"
    assert ended.stderr == ""
    assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 2


def note_and_wait_a_little(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()


def note_environment(folder: Path) -> None:
    import torch

    known = (
        os.environ["COLOUR"],
        os.environ["RANK"],
        os.environ["WORLD_SIZE"],
        os.environ.get("PYTHONSAFEPATH"),
    )
    (folder / known[1]).write_text(repr((*known, torch.cuda.is_initialized())))


def test_a_rank_has_the_variables_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank does not have the variables that the server started with, and no GPU was
    touched before the fork.
    """
    for colour in ("red", "blue"):
        monkeypatch.setenv("COLOUR", colour)
        ranks.launch(note_environment, 2, tmp_path)
        assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [
            repr((colour, str(rank), "2", os.environ.get("PYTHONSAFEPATH"), False))
            for rank in range(2)
        ]


def test_one_server_serves_all() -> None:
    """A fork starts in well under a second, whatever the server has imported."""
    context = fork_server.forks()
    parents = set()
    for _ in range(3):
        queue = context.SimpleQueue()
        process = context.Process(target=say_parent, args=(queue,))
        process.start()
        process.join()
        parents.add(queue.get())
    assert len(parents) == 1
    assert os.getpid() not in parents


def say_parent(queue: "object") -> None:
    fork_server.begin(dict(os.environ))
    queue.put(os.getppid())  # type: ignore[attr-defined]


def note_and_wait(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


LAUNCH = """
import sys
from pipeline.runtime import ranks
from tests.runtime.test_ranks import note_and_wait
ranks.launch(note_and_wait, 2, sys.argv[1])
"""


@pytest.mark.slow  # Python starts as often as it is killed
def test_ranks_are_gone_when_their_parent_is_killed(tmp_path: Path) -> None:
    """SIGKILL to the process that launched them: no rank is left, nor their server."""
    for kill in range(KILLS):
        folder = tmp_path / str(kill)
        folder.mkdir()
        parent = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(folder)], cwd=TOP, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2:
            assert time.monotonic() < deadline
            assert parent.poll() is None
            time.sleep(0.01)
        parent.kill()
        parent.wait()
        # a busy machine is slow; alone it takes some tenths of a second
        deadline = time.monotonic() + 10
        while group := members(parent.pid):
            assert time.monotonic() < deadline, group
            time.sleep(0.01)


def be_late(seconds: float, patience: float) -> None:
    """Reach a barrier late, as a rank of an evaluation with a slow node does."""
    from pipeline.runtime import process_group

    environment.patience = lambda: timedelta(seconds=patience)
    accelerator = process_group.join("fp32")
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        time.sleep(seconds)
    accelerator.wait_for_everyone()


def test_a_late_rank_is_waited_for_as_long_as_the_site_says() -> None:
    ranks.launch(be_late, 2, 3.0, 30.0)
    with pytest.raises(Bug, match=r"(?i)timed? ?out|connection closed"):
        ranks.launch(be_late, 2, 5.0, 1.0)


def test_patience_is_a_number_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environment.PATIENCE, raising=False)
    assert environment.patience() == timedelta(hours=4)
    monkeypatch.setenv(environment.PATIENCE, "90")
    assert environment.patience() == timedelta(minutes=90)
    for wrong in ("0", "-1", "1.5", "x", ""):
        monkeypatch.setenv(environment.PATIENCE, wrong)
        with pytest.raises(InputError, match=f"{environment.PATIENCE}={wrong}: expected minutes"):
            environment.patience()
