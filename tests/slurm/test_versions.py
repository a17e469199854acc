"""Answers of SLURM 20.11 to 25.05 are read alike; no field that one lacks is needed."""

import tomllib
from pathlib import Path

import pytest

from slurm import queue, states
from tests.commands import TOP

ANSWERS = tomllib.loads((TOP / "tests/golden/slurm_answers.toml").read_text())


@pytest.fixture(params=ANSWERS)
def answers(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, object]:
    """SLURM's commands print the answers of a version."""
    version: dict[str, object] = ANSWERS[request.param]
    for name in ("squeue", "sacct", "job", "config"):
        (tmp_path / f"{name}.txt").write_text(str(version[name]).lstrip("\n"))
    for name in ("squeue", "sacct", "scontrol"):
        file = {"scontrol": '$2.txt"'}.get(name, f'{name}.txt"')
        (tmp_path / name).write_text(f'#!/bin/sh\nexec cat "{tmp_path}/{file}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return version


def test_the_queue(answers: dict[str, object]) -> None:
    known = queue.mine()
    assert [job_id for job_id, job in known.items() if job.is_alive] == answers["alive"]
    assert not any(job.left in queue.NO_TIME for job in known.values())
    assert all("|" not in job.state + job.reason + job.nodes for job in known.values())


def test_the_accounting(answers: dict[str, object]) -> None:
    """Nothing there is alive: the queue would know it."""
    known = queue.ended(["1"])
    assert {job_id: job.state for job_id, job in known.items()} == answers["ended"]
    assert not any(job.is_alive for job in known.values())


def test_the_controller(answers: dict[str, object]) -> None:
    assert queue.restarts("1") == answers.get("restarts")
    assert queue.max_array_size() == answers.get("max_array_size")


def test_every_end_but_a_users_own_says_what_to_do() -> None:
    plain = {state for state, words in states.ENDED.items() if not words}
    assert plain == {"COMPLETED", "CANCELLED", "FAILED"}
    assert states.in_words("TIMEOUT").endswith("more timeout_min in the site file")


def test_without_accounting_the_queue_says_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queue.ended(["1"]) == {}
    (tmp_path / "sacct").write_text(
        "#!/bin/sh\necho Slurm accounting storage is disabled\nexit 1\n"
    )
    (tmp_path / "sacct").chmod(0o755)
    assert queue.ended(["1"]) == {}
