"""Progress of long work: a bar on a terminal (tqdm), a plain line at times in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from threading import RLock
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

LINE_SECONDS = 15.0
T = TypeVar("T")


class Progress:
    """Counts `total` units of work; a `note` is shown after the count."""

    def __init__(self, label: str, total: int, unit: str, done: int = 0, silent: bool = False):
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self._silent, self._first, self._started, self._line = (
            silent,
            done,
            time.monotonic(),
            time.monotonic(),
        )
        _lock_without_semaphore()
        terminal = sys.stderr.isatty()
        self._lines = not terminal and not silent
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            disable=silent or not terminal,
            leave=False,
        )

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report `count` more units."""
        self.done += count
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)
        if self._lines and time.monotonic() - self._line >= LINE_SECONDS:
            self._line = time.monotonic()
            rate = (self.done - self._first) / (self._line - self._started)
            left = (self.total - self.done) / rate if rate else 0.0
            print(
                f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s, {left:.0f} s"
                f" left {note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if not self._silent:
            tqdm.write(text, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()


@cache
def _lock_without_semaphore() -> None:
    """Replace tqdm's lock, a system semaphore that a killed rank would leave behind."""
    tqdm.set_lock(RLock())


def progress_of(items: Iterable[T], label: str, total: int, unit: str) -> Iterator[T]:
    """Yield the items, and report each as progress."""
    with Progress(label, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()
