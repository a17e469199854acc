"""Guesses are told from classifications, whatever the shares of the classes."""

import numpy as np
import pytest

from pipeline.statistics.chance import Guesses, against_chance, may_be_guessing
from pipeline.statistics.levels import GUESSING

CLASSES = 100
LABELS = np.arange(600) % CLASSES


def scores(right: float, labels: np.ndarray = LABELS, seed: int = 0) -> np.ndarray:
    """Return random scores, of which a share put the true label first."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((len(labels), CLASSES))
    drawn[np.arange(len(labels)), labels] += 2.0 * (rng.random(len(labels)) < right)
    return drawn


def test_a_guesser_seldom_passes() -> None:
    passed = [
        not may_be_guessing(against_chance(scores(0, seed=seed)[:200], LABELS[:200]))
        for seed in range(1000)
    ]
    assert 0 < sum(passed) / 1000 < 3 * GUESSING  # two tests, and either is enough


@pytest.mark.parametrize("size", [1, 7, 600])
def test_images_may_come_in_blocks(size: int) -> None:
    drawn = scores(0.1)
    drawn[13] = np.nan
    guesses = Guesses(CLASSES)
    for start in range(0, len(drawn), size):
        guesses.add(drawn[start : start + size], LABELS[start : start + size])
    assert guesses.against_chance() == against_chance(drawn, LABELS)


def test_a_poor_classifier_passes() -> None:
    assert not may_be_guessing(against_chance(scores(0.05), LABELS))
    # one image of each of its classes, as in a sample of ImageNet
    assert not may_be_guessing(against_chance(scores(0.2)[:60], LABELS[:60]))


@pytest.mark.parametrize("seed", range(3))
def test_another_order_of_the_classes_is_guessing(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(CLASSES)
    assert may_be_guessing(against_chance(scores(0.8)[:, order], LABELS))


def test_numbers_in_the_order_of_strings_are_guessing() -> None:
    """In the order 1, 10, 100, 2 ... 12 of 1,000 classes still lie in their place."""
    labels = np.arange(5000) % 1000
    drawn = np.random.default_rng(0).random((5000, 1000))
    drawn[np.arange(5000), labels] += 1
    assert not may_be_guessing(against_chance(drawn, labels))
    order = [int(text) for text in sorted(map(str, range(1000)))]
    first, _ = chances = against_chance(drawn[:, order], labels)
    assert first.p_value < 1e-6  # all the same
    assert may_be_guessing(chances)


def test_all_taken_for_one_class_is_guessing_even_if_it_is_frequent() -> None:
    labels = np.where(np.arange(600) < 400, 7, LABELS)
    constant = np.tile(np.random.default_rng(0).random(CLASSES), (600, 1))
    constant[:, 7] = 2
    first, _ = chances = against_chance(constant, labels)
    assert may_be_guessing(chances)
    assert first.hits > 400
    assert first.expected == pytest.approx(first.hits)


def test_no_scores_and_ties_are_misses() -> None:
    for broken in (np.full((600, CLASSES), np.nan), np.ones((600, CLASSES))):
        chances = against_chance(broken, LABELS)
        assert may_be_guessing(chances)
        assert [chance.hits for chance in chances] == [0, 0]
    assert not may_be_guessing(())  # nothing is known
