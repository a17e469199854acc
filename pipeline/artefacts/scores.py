"""Scores of images, as a file of safetensors that is written and read by blocks.

All scores of 50,000 images of 1000 classes are 200 MB, and a study has 21 such files.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from safetensors import safe_open

from pipeline.errors import StageFailed
from pipeline.runtime import disk

NAME = "probabilities"
ROUNDING = 1e-5  # ours: a sum of float32 may be so much more than 1
BLOCK = 256  # ours: images; their scores by some members fit the cache of a core


class Scores:
    """Probabilities of images, images x classes, in float32; slices are read."""

    def __init__(self, path: Path):
        self.path = path
        with safe_open(path, "np") as file:
            self.shape: tuple[int, int] = tuple(file.get_slice(NAME).get_shape())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Return the probabilities of some images.

        An image that could not be classified has NaN.

        Raises:
            StageFailed: they are no probabilities.
        """
        with safe_open(self.path, "np") as file:
            values: np.ndarray = file.get_slice(NAME)[slice(*rows.indices(len(self)))]
        if bool(((values < 0) | (values > 1 + ROUNDING)).any()):
            raise StageFailed(
                f"{self.path}: holds values from {np.nanmin(values):g} to {np.nanmax(values):g};"
                " expected probabilities, from 0 to 1"
            )
        return values


def blocks(num_images: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cover all images.

    >>> list(blocks(5, 3))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    return (slice(start, min(start + size, num_images)) for start in range(0, num_images, size))


def write_scores(path: Path, shape: tuple[int, int], rows: Iterable[np.ndarray]) -> Path:
    """Write scores that come by rows, and return the path.

    The bytes are those that `safetensors.numpy.save` makes, which needs all at once.
    """
    num_bytes = 4 * shape[0] * shape[1]
    about = {"dtype": "F32", "shape": shape, "data_offsets": [0, num_bytes]}
    head = json.dumps({NAME: about}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)

    def parts() -> Iterator[bytes]:
        yield len(head).to_bytes(8, "little") + head
        for values in rows:
            yield np.ascontiguousarray(values, np.dtype("<f4")).tobytes()

    disk.write_parts(path, parts(), num_bytes)
    return path
