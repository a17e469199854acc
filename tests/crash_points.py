"""Death at every operation on files: the tests enumerate what a kill leaves behind, and
leave nothing to luck.
"""

import os
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

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


def deaths(
    prepared: Path, scratch: Path, action: Callable[[Path], object]
) -> Iterator[tuple[str, Path]]:
    """For each operation of `action(folder)` on files in `folder`: a process dies just
    before it; yields its name, the folder.

    Each process begins with a copy of `prepared`, so the n-th dies at the n-th
    operation. What is not yet synced is written but by half, too, when a process dies:
    this is what a kill amid a write leaves, or a power cut.
    """
    for number in range(1, 10_000):
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


def _die_at(number: int, folder: Path, action: Callable[[Path], object]) -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a fork of a process with threads may wait for ever
        try:
            _Countdown(number, folder, writer).start()
            action(folder)
            os.write(writer, OUTLIVED.encode())
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        message = file.read()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or (os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0), message
    return message


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
        if event in OPERATIONS and not self._is_dying and self._concerns(arguments[0]):
            self._count(f"{event} {arguments[0]}")

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
