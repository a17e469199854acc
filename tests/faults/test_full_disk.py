"""A disk that is full, read-only, or over its quota: one line with the file and the
space, no unfinished file, and the next run goes on from there.
"""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import of_file
from pipeline.runtime import disk, remains
from tests.commands import Finished, contents, going_deeper
from tests.faults.campaign import amount

MARKED = remains.MARK
KB = (16, 300, 500, *amount((), (64, 128, 200, 400, 600, 700)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory, which only root can mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def unfinished(root: Path) -> list[Path]:
    return [path for path in root.rglob(".*") if MARKED.fullmatch(path.name)]


@pytest.mark.campaign
@pytest.mark.processes
@pytest.mark.slow
def test_a_study_on_a_full_disk(finished: Finished, small_disk: Path) -> None:
    """At one size after the other; with more space the study ends with the numbers of
    one that nothing disturbed.
    """
    root = small_disk / "root"
    command = ("run", finished.experiment, "--data", finished.data, "--members", 1)
    for size in sorted(KB):
        remount(small_disk, f"size={size}k")
        run = going_deeper(*command, "--root", root, "--processes", 2)
        *_, last = run.stderr.splitlines()
        assert run.returncode == 3, run.stderr
        assert "Traceback" not in run.stderr
        assert f"going-deeper: {small_disk}" in last, size
        assert "No space left on device" in last, size
        assert last.endswith(" are free"), size
        assert unfinished(root) == [], size
    remount(small_disk, "size=100m")
    run = going_deeper(*command, "--root", root, "--processes", 2)
    assert run.returncode == 0, run.stderr
    expected, members = contents(finished.root), ("runs", "predictions")
    made = {name: content for name, content in contents(root).items() if name.parts[0] in members}
    assert made
    assert all(expected[name] == content for name, content in made.items())


@pytest.mark.processes
def test_a_study_on_a_disk_that_is_read_only(finished: Finished, small_disk: Path) -> None:
    remount(small_disk, "ro")
    root = small_disk / "root"
    run = going_deeper("run", finished.experiment, "--data", finished.data, "--root", root)
    assert (run.returncode, "Traceback" in run.stderr) == (3, False)
    assert f"{small_disk}" in run.stderr.splitlines()[-1]
    assert run.stderr.endswith(": Read-only file system\n")


@pytest.mark.parametrize("limit", [0, 1, 100, 4096])
def test_a_file_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """The kernel refuses the rest of a write, and names no file."""
    path, before = tmp_path / "state.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in (disk.write_atomic, disk.publish):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match="File too large") as raised:
                write(path, bytes(10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        line = str(of_file(raised.value))
        assert line.startswith(f"{path}: File too large; it needs 0.010 MB; ")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_an_error_as_a_file_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A quota is often noticed only then."""

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        disk.write_atomic(tmp_path / "run.json", b"{}")
    needed = "; it needs 0.000 MB; " in str(of_file(raised.value, tmp_path))
    assert needed == (number in (errno.ENOSPC, errno.EDQUOT))
    assert str(tmp_path) in str(of_file(raised.value, tmp_path))
    assert list(tmp_path.iterdir()) == []
