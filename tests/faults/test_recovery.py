"""What was damaged or left over: the next run says what it set aside, and goes on with
the right numbers.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artefacts import locks
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.run import Run
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from tests.commands import TOP, Finished, going_deeper
from tests.faults.campaign import amount
from tests.forks import fork

TRIES = amount(2, 30)
ATTEMPTS = amount(200, 2000)


@pytest.fixture(scope="module")
def halted(
    data: PrepareConfig, run_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A root with a training that was killed before its last step."""
    root = tmp_path_factory.mktemp("halted")
    prepare(data, root, processes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", lambda *_: None)
        train(run_config, root)
    return root


@pytest.fixture(scope="module")
def expected(
    halted: Path, run_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> object:
    root = tmp_path_factory.mktemp("expected")
    shutil.copytree(halted, root, dirs_exist_ok=True)
    train(run_config, root)
    return outcome(run_config, root)


def outcome(config: TrainConfig, root: Path) -> object:
    """Return all numbers of a training that do not tell of time."""
    rows = [
        {name: row[name] for name in row if name.startswith(("loss", "val", "step", "epoch"))}
        for row in Run(config, root).metrics()
    ]
    return rows, {
        path.name: path.read_bytes() for path in (root / config.folder).glob("final/*.s*")
    }


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    # not behind the last checkpoint, whose rows are logged anew
    content[rng.randrange(len(content) // 2)] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def add_a_line(path: Path, rng: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines.insert(rng.randrange(len(lines)), rng.randbytes(40) + b"\n")
    path.write_bytes(b"".join(lines))


def become_a_folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


Damage = Callable[[Path, random.Random], None]
LOG, ATTEMPT, STRAY, LOCK = "metrics.jsonl", "attempts/000001.json", "attempts/note.json", "lock"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (LOG, flip),
        (LOG, add_a_line),
        (LOG, become_a_folder),
        (ATTEMPT, truncate),
        (ATTEMPT, become_a_folder),
        (STRAY, lambda path, _: path.write_text("mine")),
        (LOCK, become_a_folder),
    ],
)
def test_a_training_goes_on(
    halted: Path,
    expected: object,
    run_config: TrainConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: Damage,
) -> None:
    """It says what it set aside, and where that is now."""
    rng, survived = random.Random(0), 0
    for number in range(TRIES):
        root = shutil.copytree(halted, tmp_path / str(number))
        path = root / run_config.folder / name
        if name == LOCK:
            path = root / "locks" / f"train-{run_config.hash}"
        damage(path, rng)
        before = path.read_bytes() if path.is_file() else b""
        capsys.readouterr()
        train(run_config, root)
        said = capsys.readouterr().err
        assert said.count(f"{path}: ") == 1, number
        assert f"; it is now {path.name}.damaged" in said, number
        aside = path.with_name(f"{path.name}.damaged")
        assert (aside.read_bytes() if aside.is_file() else b"") == before
        assert outcome(run_config, root) == expected, number
        numbers = sorted(
            path.stem for path in (root / run_config.folder / "attempts").glob("*.json")
        )
        assert numbers[-1] == "000002"
        survived += 1
        shutil.rmtree(root)
    print(f"{name}, {damage.__name__}: {survived} of {TRIES}")


def test_a_log_that_lost_its_end_is_no_damage(
    halted: Path,
    expected: object,
    run_config: TrainConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As after a power cut: the checkpoint has the rows."""
    rng = random.Random(1)
    for number in range(TRIES):
        root = shutil.copytree(halted, tmp_path / str(number))
        truncate(root / run_config.folder / LOG, rng)
        train(run_config, root)
        assert "damaged" not in capsys.readouterr().err
        assert outcome(run_config, root) == expected, number


def test_a_shard_with_a_damaged_note_is_made_again(
    data: PrepareConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(2)
    digest = prepare(data, tmp_path, processes=1).manifest.digest
    (note,) = (tmp_path / data.folder).glob("shards/*/train-00000.arrow.json")
    for number in range(TRIES):
        (tmp_path / data.folder / "manifest.json").unlink()
        truncate(note, rng)
        capsys.readouterr()
        assert prepare(data, tmp_path, processes=1).manifest.digest == digest, number
        said = capsys.readouterr().err
        assert said.count(f"{note.with_suffix('')}: it or its note is damaged") == 1
        assert len(Dataset(data, tmp_path).split("train")) == 24


@pytest.mark.processes
def test_remains_behind_a_seal_are_removed(finished: Finished, tmp_path: Path) -> None:
    """A kill just behind the seal leaves checkpoints, chunks and unfinished files."""
    root = finished.copy(tmp_path)
    run, predictions = next(root.glob("runs/*")), next(root.glob("predictions/*"))
    for folder in (run / "checkpoints/step_00000001", predictions / "chunks/0123"):
        folder.mkdir(parents=True)
        (folder / "content").write_bytes(b"content")
    writer = subprocess.run(
        [sys.executable, "-c", KILLED, run / "final/model.safetensors"], cwd=TOP, check=False
    )
    assert writer.returncode == -signal.SIGKILL
    assert len(list(run.glob("final/.*"))) == 1
    again = going_deeper("run", finished.experiment, "--data", finished.data, "--root", root)
    assert (again.returncode, again.stderr.count("\n")) == (0, 3), again.stderr
    for path in (run / "checkpoints", predictions / "chunks", run / "final"):
        assert again.stderr.count(f"{path}: removed") == 1
    assert (
        list(root.rglob(".*"))
        == list(root.rglob("chunks"))
        == list(root.rglob("checkpoints"))
        == []
    )


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.runtime import disk
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
disk.write_atomic(Path(sys.argv[1]), b"content")
"""


@pytest.mark.processes
@pytest.mark.slow
def test_the_main_process_alone_is_killed(finished: Finished, tmp_path: Path) -> None:
    """Its ranks and their loaders live on for a moment: a run at once is not refused.
    Nothing stays in the folder of temporary files.
    """
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # short, as sockets lie in it
    environment = {"TMPDIR": str(temporary)}
    for number in range(amount(1, 10)):
        root = tmp_path / str(number)
        command = ["run", finished.experiment, "--data", finished.data, "--members", 1]
        command += ["--root", root, "--processes", 2]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *map(str, command)],
            cwd=TOP,
            stderr=subprocess.DEVNULL,
            env=os.environ | environment,
        )
        deadline = time.monotonic() + 120
        while not list(root.glob("runs/*/checkpoints/step_*")) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait()
        (lock,) = root.glob("locks/train-*")
        held = locks.held_by(lock.name.partition("-")[2], root)
        resumed = going_deeper(*command, environment=environment)
        assert resumed.returncode == 0, resumed.stderr
        print(f"just after the kill: held by {held}")
    temporary.rmdir()  # which is empty


def look(name: str, root: Path, ready: Path) -> None:
    ready.touch()
    while True:
        locks.held_by(name, root)


@pytest.mark.processes
def test_a_look_disturbs_no_lock(run_config: TrainConfig, tmp_path: Path) -> None:
    with locks.lock(run_config, tmp_path):
        assert str(os.getpid()) in str(locks.held_by(run_config.hash, tmp_path))
    looking = fork(look, run_config.hash, tmp_path, tmp_path / "ready")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    refused = 0
    for _ in range(ATTEMPTS):
        try:
            with locks.lock(run_config, tmp_path):
                time.sleep(0.0005)
        except InputError:
            refused += 1
        time.sleep(0.0005)  # else the other one hardly gets to look
    looking.kill()
    looking.join()
    assert refused == 0, f"{refused} of {ATTEMPTS}"


WRITING = """
import json, sys, time
from pathlib import Path
from pipeline.runtime import disk, remains
folder = Path(sys.argv[1])
with disk.beside(folder / "val-00000.arrow") as path:
    path.write_bytes(b"unfinished")
    print(path.name, flush=True)
    sys.stdin.read()
    remains.sweep(folder)
    print(json.dumps(sorted(path.name for path in folder.iterdir())), flush=True)
"""


def container(folder: Path) -> "subprocess.Popen[str]":
    """Start a writer in a namespace of processes of its own: all have the same number,
    and the name of this host.
    """
    return subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", WRITING, folder],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.processes
def test_containers_of_one_name_leave_each_others_files_alone(tmp_path: Path) -> None:
    """A third, and one of the two, sweep while both write."""
    if subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False
    ).returncode:
        pytest.skip("only root can make a namespace of processes")
    from pipeline.runtime import remains

    first, second = container(tmp_path), container(tmp_path)
    names = {process.stdout.readline().strip() for process in (first, second) if process.stdout}
    remains.sweep(tmp_path)  # as a third
    assert {path.name for path in tmp_path.iterdir()} == names
    said, _ = second.communicate("", timeout=60)
    assert set(json.loads(said)) == names
    first.communicate("", timeout=60)
    assert list(tmp_path.iterdir()) == []
