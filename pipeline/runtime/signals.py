"""Signals that ask a process to end: noted at once, obeyed when nothing is
half-done.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from pipeline.errors import StageEnded

ENDING = (signal.SIGTERM, signal.SIGUSR2)  # a scheduler's notices that the end is near


class EndNotice:
    """A signal that asked this process to end, if one came. A handler only notes it:
    saving inside a handler tears files, as it may interrupt another save. Whoever is
    between two steps saves and then obeys.

    A rank that does not save must not obey either: the one that saves would wait for it
    in vain. It ends with that one, or at the second signal of a kind.
    """

    def __init__(self, saves: bool = True) -> None:
        self._saves = saves
        self.signal: signal.Signals | None = None
        self.handlers: dict[int, Any] = {}

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if number == self.signal and not self._saves:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)

    def obey(self) -> None:
        """Do what would have been done: end, or what an earlier handler does
        (submitit's has the job requeued, and ends).

        Raises:
            SystemExit: no earlier handler; its code is 128 + the signal's number, as a
                shell says it.
        """
        number, self.signal = self.signal, None
        if number is None:
            return
        handler = self.handlers[number]
        if callable(handler):
            handler(number, None)
        elif handler != signal.SIG_IGN:
            raise SystemExit(128 + number)


@contextmanager
def end_noted(saves: bool) -> Iterator[EndNotice]:
    """Within, signals that ask to end are noted. `saves`: this process will save and
    obey.
    """
    notice = EndNotice(saves)
    with _handled_by(notice.note) as notice.handlers:
        yield notice


@contextmanager
def end_forwarded(process_ids: Sequence[int]) -> Iterator[EndNotice]:
    """Within, signals that ask to end are noted and passed on to other processes, whose
    end this one waits for.
    """
    notice = EndNotice()

    def forward(number: int, frame: FrameType | None) -> None:
        notice.note(number, frame)
        for process_id in process_ids:
            with suppress(ProcessLookupError):
                os.kill(process_id, number)

    with _handled_by(forward) as notice.handlers:
        yield notice


@contextmanager
def end_is_stop() -> Iterator[None]:
    """Within, SIGTERM stops the work at once: what is done is done, and nothing else is
    half-done.

    Raises:
        StageEnded: in place of the signal.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise StageEnded(f"{signal.Signals(number).name}: what was finished is kept")

    in_main_thread = threading.current_thread() is threading.main_thread()
    # a scheduler's own handler knows better
    if not in_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_notices() -> None:
    """For a process that another one ends."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[dict[int, Any]]:
    """Set a handler, only possible in the main thread; yields the earlier ones, and
    restores them.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = (
        {number: signal.signal(number, handler) for number in ENDING} if in_main_thread else {}
    )
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
