"""ILSVRC-2012's validation images are known by content, whatever they are called."""

from typing import Any

import numpy as np
import pytest

from pipeline.artefacts.contents import Manifest
from pipeline.configs.prepare import DEVKIT, VAL
from pipeline.sources import recognition
from pipeline.sources.ilsvrc import MD5
from pipeline.sources.recognition import Recognition, recognise, recognise_training

IDS = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """50 images a class, each of a reassessed label where that class is not full."""
    room, chosen = [50] * 1000, np.full(50_000, -1)
    for image, right in enumerate(recognition._reassessed_labels()):
        label = next((label for label in right if room[label]), None)
        if label is not None:
            chosen[image], room[label] = label, room[label] - 1
    rest = [label for label, number in enumerate(room) for _ in range(number)]
    chosen[chosen < 0] = rest
    return chosen


def known(
    labels: np.ndarray,
    ids: list[str] = IDS,
    classes: list[str] | None = None,
    size: float = recognition.ORIGINAL_BYTES["val"],
) -> Recognition:
    names = recognition.synsets() if classes is None else classes
    return recognise({}, ids, labels, names, {"val": int(size)})


def test_by_the_archives() -> None:
    md5 = {name: MD5[name] for name in (VAL, DEVKIT)}
    assert recognise(md5, ["anything"], np.array([0]), ["a"]).is_ilsvrc2012
    assert not recognise({**md5, VAL: "0" * 32}, ["anything"], np.array([0]), ["a"]).is_ilsvrc2012


def test_by_names_classes_and_labels(labels: np.ndarray) -> None:
    found = known(labels)
    assert found.is_ilsvrc2012
    assert "pixels not compared" in found.words
    order = np.random.default_rng(0).permutation(50_000)
    folders = [f"val/n0/{IDS[k]}" for k in order]
    assert known(labels[order], folders).is_ilsvrc2012, "in any order, in any folder"


def test_fifty_thousand_images_of_the_right_name_are_not_enough(labels: np.ndarray) -> None:
    classes = recognition.synsets()
    assert "are not named" in known(labels, [f"{k}.jpg" for k in range(50_000)]).words
    assert "not named" in known(labels, [*IDS[:-1], IDS[0]]).words, "one twice"
    by_name = sorted(classes, key=lambda wnid: wnid[::-1])
    assert "in another order" in known(labels, classes=by_name).words
    assert "only 1.3 % agree" in known((labels + 1) % 1000).words
    assert "other than 50" in known(np.where(labels == 0, 1, labels)).words
    assert "has 49999 images" in known(labels[:-1], IDS[:-1]).words


def test_images_of_another_size_were_encoded_anew(labels: np.ndarray) -> None:
    words = known(labels, size=0.98 * recognition.ORIGINAL_BYTES["val"]).words
    assert "has images of 6572 MB in all, where ILSVRC-2012's have 6707" in words
    assert "and size, pixels not" in known(labels).words


def test_a_few_wrong_labels_in_a_hundred_are_noticed(labels: np.ndarray) -> None:
    assert "95.6 % agree" in known(labels).words, "the fixture's own labels"
    wrong = labels.copy()
    swapped = np.arange(0, 50_000, 7)
    wrong[swapped] = np.roll(wrong[swapped], 1)
    assert not known(wrong).is_ilsvrc2012


def manifest(**changes: Any) -> Manifest:
    count = [1281] * 833 + [1282] * 167
    fields: dict[str, Any] = {
        "source_md5": {},
        "classes": recognition.synsets(),
        "images_per_class": {"train": count, "val": [50] * 1000},
        "num_leaks": 0,
        "config": {},
        "bytes_of_splits": {"train": int(recognition.ORIGINAL_BYTES["train"])},
    }
    return Manifest.model_construct(None, **fields | changes)


def test_training_images_are_recognised_too() -> None:
    assert recognise_training(manifest()).is_ilsvrc2012
    few = recognise_training(manifest(num_leaks=3))
    assert (few.is_ilsvrc2012, "3 of them are validation images too" in few.words) == (True, True)
    one_of_one = [1, 2561] + [1281] * 831 + [1282] * 167
    for changes, words in (
        ({"num_leaks": 50_000}, "has 50000 validation images among its training images"),
        ({"classes": recognition.synsets()[::-1]}, "has other classes"),
        ({"bytes_of_splits": {"train": 1_500_000_000}}, "were encoded anew"),
        ({"images_per_class": {"train": [50] * 1000}}, "has 50000 training images"),
        (
            {"images_per_class": {"train": one_of_one}},
            "other than 732",
        ),
    ):
        refused = recognise_training(manifest(**changes))
        assert not refused.is_ilsvrc2012
        assert words in refused.words
    assert recognise_training(manifest(source_md5=MD5, num_leaks=600)).is_ilsvrc2012
