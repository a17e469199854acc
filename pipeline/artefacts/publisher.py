"""Scores of images on their way to chunks, while others are computed."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import numpy as np

from pipeline.artefacts.predictions import Predictions
from pipeline.errors import StageEnded

PAUSE = 9  # ours: times the last save lasted, so that saving takes a tenth of one thread
LONGEST_PAUSE_SECONDS = 10.0  # ours: what is not saved must fit the memory


Row = tuple[int, Mapping[str, np.ndarray], str]  # an image, its scores, what is wrong


class Publisher:
    """Saves images as chunks, in a thread of its own.

    A chunk holds all images since the last one, at least `least` of them but for the
    last, and no save begins before the pause after the last one.
    """

    def __init__(
        self,
        predictions: Predictions,
        num_classes: int,
        least: int,
        engine: str,
        hardware: Mapping[str, str],
    ):
        self._predictions, self._num_classes, self._least = predictions, num_classes, least
        self._engine, self._hardware = engine, hardware
        self._rows: list[Row] = []
        self._thread = ThreadPoolExecutor(1)
        self._saving: Future[None] | None = None
        self._not_before = self._counted_until = time.monotonic()
        self.is_over = False

    def add(self, row: Row) -> None:
        """Add an image, and begin a save if it is time for one.

        `is_over` says later that another attempt has sealed the predictions.
        """
        self._rows.append(row)
        if (
            len(self._rows) >= self._least
            and (self._saving is None or self._saving.done())
            and time.monotonic() >= self._not_before
        ):
            self._begin()

    def _begin(self) -> None:
        self._wait()
        rows, self._rows = self._rows, []
        now = time.monotonic()
        seconds, self._counted_until = now - self._counted_until, now
        self._saving = self._thread.submit(self._save, rows, seconds)

    def _wait(self) -> None:
        if self._saving is not None:
            self._saving.result()

    def _save(self, rows: list[Row], seconds: float) -> None:
        started = time.monotonic()
        config = self._predictions.config
        if config.is_complete(self._predictions.root):
            self.is_over = True
            return
        first = 0
        for place in range(1, len(rows) + 1):  # a chunk has no gap
            if place == len(rows) or rows[place][0] != rows[place - 1][0] + 1:
                self._publish(rows[first:place], seconds * (place - first) / len(rows))
                first = place
        now = time.monotonic()
        self._not_before = now + min(PAUSE * (now - started), LONGEST_PAUSE_SECONDS)

    def _publish(self, rows: list[Row], seconds: float) -> None:
        none = np.full(self._num_classes, np.nan, np.float32)
        scores = {
            policy: np.stack([of_image.get(policy, none) for _, of_image, _ in rows])
            for policy in self._predictions.config.policies
        }
        bad = {index: problem for index, _, problem in rows if problem}
        self._predictions.publish_chunk(
            range(rows[0][0], rows[-1][0] + 1),
            scores,
            bad,
            seconds,
            self._engine,
            self._hardware,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._rows and (kind is None or issubclass(kind, StageEnded)):
                self._begin()
            self._wait()
        finally:
            self._thread.shutdown()
