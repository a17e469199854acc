"""Signals that ask a process to end.

They are noted at once, and obeyed when nothing is half-done.
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
    """A signal that asked this process to end, if one came.

    A handler only notes the signal: a save inside a handler could interrupt another
    save and damage files. The training saves between two steps, and then obeys.

    A rank that does not save must not obey: the rank that saves would wait for it
    without end. It ends with that rank, or at the second signal of the same kind.
    """

    def __init__(self, saves: bool = True) -> None:
        self._saves = saves
        self.signal: signal.Signals | None = None
        self.handlers: dict[int, Any] = {}

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: note it."""
        if number == self.signal and not self._saves:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)

    def obey(self) -> None:
        """Do what the signal asks: call the earlier handler, or end.

        submitit's handler requeues the job and ends.

        Raises:
            SystemExit: there is no earlier handler. The code is 128 + the signal's
                number, as in a shell.
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
    """Note, within the block, the signals that ask to end.

    `saves` says whether this process saves and obeys.
    """
    notice = EndNotice(saves)
    with _handled_by(notice.note) as notice.handlers:
        yield notice


@contextmanager
def end_forwarded(process_ids: Sequence[int]) -> Iterator[EndNotice]:
    """Note, within the block, the signals that ask to end, and pass them on.

    This process waits for the other processes to end.
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
    """Make SIGTERM stop the work within the block at once.

    This suits work that leaves nothing half-done.

    Raises:
        StageEnded: SIGTERM came.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise StageEnded(f"{signal.Signals(number).name}: what was finished is kept")

    in_main_thread = threading.current_thread() is threading.main_thread()
    # a scheduler's own handler stays
    if not in_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ignore_notices() -> None:
    """Ignore the signals, in a process that another process ends."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[dict[int, Any]]:
    """Set a handler within the block, and yield the earlier handlers.

    Only the main thread can set handlers.
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
