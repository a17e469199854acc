"""Which attempts died, which nodes are to blame, and which are kept from new jobs."""

from pathlib import Path

import pytest

from slurm import nodes, queue


def test_a_node_that_failed_twice_is_kept_from_new_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempt 0 dies with node a, attempt 1 pauses at its limit, attempt 2 dies with a
    again; b only ran beside it.
    """
    monkeypatch.setattr(queue, "down", lambda names: [name for name in names if name == "a"])
    nodes.note_start(tmp_path, "train-1", 0, ["a", "b"])
    assert nodes.blame(tmp_path, "train-1", 0) == []
    assert nodes.blame(tmp_path, "train-1", 1) == ["a"]
    assert nodes.failing(tmp_path) == []
    nodes.note_start(tmp_path, "train-1", 1, ["c"])
    nodes.note_pause(tmp_path, "train-1", 1)
    nodes.note_pause(tmp_path, "train-1", 1)  # again does no harm
    assert nodes.blame(tmp_path, "train-1", 2) == []
    nodes.note_start(tmp_path, "train-1", 2, ["a", "b"])
    assert nodes.blame(tmp_path, "train-1", 3) == ["a"]
    assert nodes.deaths(tmp_path, "train-1", 3) == [0, 2]
    assert nodes.failing(tmp_path) == ["a"]
    nodes.forget(tmp_path, "train-1")
    assert nodes.deaths(tmp_path, "train-1", 0) == []
    assert nodes.failing(tmp_path) == ["a"]
    assert sorted(path.suffix for path in (tmp_path / "jobs/nodes").iterdir()) == [
        ".failure",
        ".failure",
    ]
