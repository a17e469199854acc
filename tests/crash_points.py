"""Death at every operation on files: the tests enumerate what a kill leaves behind, and
leave nothing to luck.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.artefacts.sealing import STAGES
from pipeline.errors import ExpectedError, of_file
from pipeline.runtime import remains

# what Python tells an audit hook of, before it does it; of an fsync it does not
OPERATIONS = frozenset(
    {
        "open",
        "os.chmod",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",  # and os.replace
        "os.rmdir",
        "os.scandir",
        "os.symlink",
        "os.truncate",
        "os.utime",
        "shutil.move",
        "shutil.rmtree",
    }
)
OUTLIVED = "outlived"
SEALS = {artefact.config.last_file for artefact in STAGES.values()}
# locks and attempts tell of time and place; a death just behind a seal leaves what
# nobody reads any more
NOT_COMPARED = {"locks", "attempts", "chunks", "checkpoints"}


def deaths(
    prepared: Path, scratch: Path, action: Callable[[Path], object], every: int = 1
) -> Iterator[tuple[str, Path]]:
    """For each operation of `action(folder)` on files in `folder`: a process dies just
    before it; yields its name, the folder.

    Each process begins with a copy of `prepared`, so the n-th dies at the n-th
    operation. What is not yet synced is written but by half, too, when a process dies:
    this is what a kill amid a write leaves, or a power cut.
    """
    for number in range(1, 10_000, every):
        folder = scratch / f"{number}"
        shutil.copytree(prepared, folder)
        where = _die_at(number, folder, action)
        if where == OUTLIVED:
            assert number > 1, "no operation on files was seen"
            return
        yield where, folder
        shutil.rmtree(folder)
    raise AssertionError(f"{action}: does not come to an end")


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by name, and every empty folder."""
    paths = (
        path for path in sorted(folder.rglob("*")) if path.is_file() or not any(path.iterdir())
    )
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in paths
    }


def failures(
    prepared: Path, scratch: Path, action: Callable[[Path], object], every: int = 1
) -> Iterator[tuple[str, str, Path]]:
    """For each operation of `action(folder)` that needs space: the disk is full from
    there on; yields its name, what the user reads, and the folder.

    A write fails when its file is synced, with half of the file on the disk.
    """
    for number in range(1, 10_000, every):
        folder = scratch / f"full{number}"
        shutil.copytree(prepared, folder)
        where, _, line = _fail_at(number, folder, action).partition("\n")
        if where == OUTLIVED:
            assert number > 1, "no operation on files was seen"
            return
        yield where, line, folder
        shutil.rmtree(folder)
    raise AssertionError(f"{action}: does not come to an end")


def assert_no_trace(
    tmp_path: Path,
    prepared: Path,
    work: Callable[[Path], object],
    at_least: int,
    also: Callable[[Path], None] = lambda _: None,
    every: int = 1,
) -> None:
    """Let `work(root)` die at every point, or have a full disk from there on, and do it
    again in a process of its own. `also` checks what is left between the two.

    The end of a full disk is a line that names a file, and no unfinished file stays.
    """

    def again(root: Path) -> dict[str, object]:
        message, status = _in_fork(lambda _: work(root))
        assert status == 0, message
        return visible(root)

    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(prepared, undisturbed)
    expected = again(undisturbed)
    assert expected
    num_deaths = num_failures = 0
    for point, root in deaths(prepared, tmp_path / "deaths", work, every):
        num_deaths += 1
        also(root)
        assert again(root) == expected, point
    for point, line, root in failures(prepared, tmp_path / "failures", work, every):
        num_failures += 1
        assert re.fullmatch(rf"{root}\S*: No space left on device;.* MB.* are free", line), point
        assert not [path for path in root.rglob(".*") if remains.MARK.fullmatch(path.name)], point
        also(root)
        assert again(root) == expected, point
    print(f"{num_deaths} deaths, {num_failures} full disks, of every {every}. point")
    assert num_deaths * every >= at_least


def visible(folder: Path) -> dict[str, object]:
    """Return what readers see of finished artefacts: no provenance, and no remains of
    writes, which have hidden names.
    """
    files: dict[str, object] = {}
    for name, content in contents(folder).items():
        parts = Path(name).parts
        if NOT_COMPARED.isdisjoint(parts) and not any(part.startswith(".") for part in parts):
            sealed = json.loads(content) if parts[-1] in SEALS else None
            files[name] = (
                hashlib.sha256(content).digest()
                if sealed is None
                else sealed | {"provenance": None, "seal": None}
            )
    return files


def _die_at(number: int, folder: Path, action: Callable[[Path], object]) -> str:
    def work(writer: int) -> None:
        _Countdown(number, folder, writer).start()
        action(folder)
        os.write(writer, OUTLIVED.encode())

    message, status = _in_fork(work)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0), message
    return message


def _fail_at(number: int, folder: Path, action: Callable[[Path], object]) -> str:
    def work(writer: int) -> None:
        countdown = _FullDisk(number, folder, writer)
        countdown.start()
        try:
            action(folder)
            os.write(writer, b"" if countdown.is_over else OUTLIVED.encode())
        except ExpectedError as error:
            os.write(writer, str(error).encode())
        except OSError as error:
            os.write(writer, str(of_file(error)).encode())

    message, status = _in_fork(work)
    assert os.WIFEXITED(status), message
    assert os.WEXITSTATUS(status) == 0, message
    return message


def _in_fork(work: Callable[[int], object]) -> tuple[str, int]:
    """Call `work(writer)` in a fork, and return what it wrote, and its status."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a fork of a process with threads may wait for ever
        try:
            work(writer)
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        message = file.read()
    return message, os.waitpid(child, 0)[1]


class _Countdown:
    """Count operations on files in a folder, and end this forked process before the
    n-th.
    """

    def __init__(self, number: int, folder: Path, writer: int):
        self._left, self._folder, self._writer = number, str(folder), writer
        self._is_dying = False

    def start(self) -> None:
        """Begin to count; it cannot be stopped."""
        sys.addaudithook(self._before)
        os.fsync = self._fsync  # type: ignore[assignment]  # none is due: the machine does not lose its power

    def _before(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._counts(event, arguments) and not self._is_dying and self._concerns(arguments[0]):
            self._count(f"{event} {arguments[0]}")

    def _counts(self, event: str, arguments: tuple[object, ...]) -> bool:
        return event in OPERATIONS

    def _concerns(self, path: object) -> bool:
        """A descriptor or a relative path is one of shutil.rmtree's, which walks from
        folder to folder.
        """
        if isinstance(path, int):
            return self._lies_within(str(Path(f"/proc/self/fd/{path}").readlink()))
        return isinstance(path, str | bytes | os.PathLike) and self._lies_within(os.fsdecode(path))

    def _lies_within(self, path: str) -> bool:
        return not path.startswith("/") or path.startswith(self._folder)

    def _fsync(self, descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if not self._lies_within(path):
            return
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            self._count(f"half of {path}", lambda: os.truncate(path, status.st_size // 2))
        self._count(f"os.fsync {path}")

    def _count(self, name: str, first: Callable[[], None] = lambda: None) -> None:
        self._left -= 1
        if self._left == 0:
            self._is_dying = True
            first()
            os.write(self._writer, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)


class _FullDisk(_Countdown):
    """Let every operation that needs space fail, from the n-th on."""

    is_over = False

    def _counts(self, event: str, arguments: tuple[object, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            return not isinstance(path, int) and bool(int(flags) & (os.O_WRONLY | os.O_RDWR))  # type: ignore[call-overload]
        return event in ("os.link", "os.mkdir", "os.rename", "os.symlink")

    def _count(self, name: str, first: Callable[[], None] = lambda: None) -> None:
        self._left -= 1
        if self._left > 0:
            return
        if not self.is_over:
            self.is_over = True
            os.write(self._writer, f"{name}\n".encode())
        first()
        event, _, path = name.partition(" ")
        named = () if event in ("half", "os.fsync") else (path,)  # as the kernel's own
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named)
