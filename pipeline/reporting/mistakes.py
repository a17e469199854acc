"""Mistakes of a result: the worst images, the worst classes, and confusions."""

from collections import Counter
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from pipeline.artefacts.contents import Guess, Mistake
from pipeline.artefacts.dataset import Split
from pipeline.images.decode import BadImage, thumbnail
from pipeline.reporting.rows import ClassRow, Confusion

NUM_WORST = 24  # ours
NUM_GUESSES = 5


class WorstMistakes:
    """The images whose first guess was wrong but surest, of images that come in blocks.

    Where several are as sure, the first count.
    """

    def __init__(self, labels: np.ndarray):
        self._labels = labels
        self._worst: list[_Wrong] = []

    def add(self, rows: slice, probabilities: np.ndarray, rank: np.ndarray) -> None:
        """Look at the images `rows`; their probabilities need not add up to one."""
        labels = self._labels[rows]
        wrong = np.flatnonzero((rank >= 1) & ~np.isnan(probabilities).any(axis=1))
        scores = probabilities[wrong] / probabilities[wrong].sum(axis=1, keepdims=True)
        lead = scores.max(axis=1) - scores[np.arange(len(wrong)), labels[wrong]]
        for k in np.argsort(-lead, kind="stable")[:NUM_WORST].tolist():
            row = int(wrong[k])
            self._worst.append(_Wrong(-lead[k], rows.start + row, int(rank[row]), scores[k].copy()))
        self._worst = sorted(self._worst, key=itemgetter(0))[:NUM_WORST]

    def in_order(self, split: Split, classes: list[str], pictures: bool = True) -> list[Mistake]:
        """Return each with its picture, its label and the five first guesses."""
        mistakes = []
        for _, index, rank, scores in self._worst:
            guesses = np.argsort(-scores, kind="stable")[:NUM_GUESSES].tolist()
            mistakes.append(
                Mistake(
                    image_id=split.image_ids[index],
                    label=classes[int(split.labels[index])],
                    rank=rank,
                    guesses=[
                        Guess(label=classes[k], probability=round(float(scores[k]), 4))
                        for k in guesses
                    ],
                    picture=_picture(split, index) if pictures else "",
                )
            )
        return mistakes


class _Wrong(NamedTuple):
    """A mistake; `order` is minus the lead of the first guess over the label."""

    order: float
    image: int
    rank: int
    scores: np.ndarray


def _picture(split: Split, index: int) -> str:
    try:
        return thumbnail(split.encoded(index))
    except BadImage:
        return ""


def class_errors(
    labels: np.ndarray, predicted: np.ndarray, rank: np.ndarray, classes: list[str], top: int
) -> list[ClassRow]:
    """Return the errors of each class, the worst first, with its usual confusion."""
    rows = []
    for label, name in enumerate(classes):
        mine = labels == label
        if mine.any():
            others = Counter(predicted[mine & (rank >= 1)].tolist()).most_common(1)
            rows.append(
                ClassRow(
                    name=name,
                    images=int(mine.sum()),
                    top1_error=float((rank[mine] >= 1).mean()),
                    top5_error=float((rank[mine] >= 5).mean()) if top == 5 else None,
                    taken_for=classes[others[0][0]] if others and others[0][0] >= 0 else "",
                    times=others[0][1] if others else 0,
                )
            )
    return sorted(rows, key=lambda row: (-(row.top5_error or 0.0), -row.top1_error, row.name))


def confusions(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> list[Confusion]:
    """Return the pairs of classes that are confused, the most frequent first.

    A row counts the images of one class that are taken for the other.
    """
    pairs = Counter(
        (label, guess)
        for label, guess in zip(labels.tolist(), predicted.tolist(), strict=True)
        if label != guess and guess >= 0
    )
    ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return [
        Confusion(label=classes[label], taken_for=classes[guess], images=count)
        for (label, guess), count in ordered
    ]
