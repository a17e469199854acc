"""The embedded source: scikit-learn's scanned digits, rendered as photographs are
taken.
"""

import hashlib
import io
import random
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.configs.prepare import DigitsConfig
from pipeline.sources.base import Piece, Source, SourceFile

DIGITS_VAL_SHARE = 5  # ours: every fifth digit is for validation
USUAL_BYTES = 4096  # of a rendered digit, about


def digits(config: DigitsConfig) -> Source:
    """The 1,797 scanned handwritten digits in scikit-learn (UCI, Alpaydin and Kaynak),
    rendered as photographs are taken.

    Each 8x8 scan becomes a JPEG of its own size and aspect ratio, the digit somewhere
    on a shaded sheet, so that scales, squares and windows have work to do. A function
    of nothing: the same bytes on every machine with the same Pillow.
    """
    scans = load_digits()
    labels = [int(label) for label in scans.target]
    order = sorted(range(len(labels)), key=lambda i: (i % DIGITS_VAL_SHARE == 0, labels[i], i))
    pieces = [
        Piece(
            "val" if i % DIGITS_VAL_SHARE == 0 else "train",
            f"{labels[i]}/{i:04d}.jpg",
            labels[i],
            USUAL_BYTES,
            offset=i,
        )
        for i in order
    ]
    fingerprint = hashlib.sha256(scans.images.tobytes()).hexdigest()
    return Source([str(name) for name in scans.target_names], fingerprint, lambda: pieces, _read)


def _read(piece: Piece) -> Iterator[SourceFile]:
    scan = _scans()[piece.offset]
    yield SourceFile(
        piece.split, piece.name, piece.label, _render(scan, random.Random(piece.offset))
    )


@lru_cache(maxsize=1)
def _scans() -> np.ndarray:
    found: np.ndarray = load_digits().images
    return found


def _render(scan: np.ndarray, rng: random.Random) -> bytes:
    """A JPEG of the digit (8 x 8, 0 to 16) in ink on a sheet of 64 to 128 pixels'
    shorter side, aspect up to 2.
    """
    side = rng.randint(64, 128)
    longer = round(side * rng.uniform(1.0, 2.0))
    width, height = (longer, side) if rng.random() < 0.5 else (side, longer)
    digit = round(side * rng.uniform(0.6, 0.95))
    ink = np.asarray(
        Image.fromarray((scan * 255 / 16).astype(np.uint8)).resize(
            (digit, digit), Image.Resampling.BICUBIC
        )
    )
    left, top = rng.randint(0, width - digit), rng.randint(0, height - digit)
    cover = np.zeros((height, width, 1))
    cover[top : top + digit, left : left + digit, 0] = ink / 255
    slope = (
        np.linspace(0, rng.uniform(-40, 40), width)[None, :, None]
        + np.linspace(0, rng.uniform(-40, 40), height)[:, None, None]
    )
    paper = np.array([rng.randint(150, 230) for _ in range(3)]) + slope
    colour = np.array([rng.randint(0, 90) for _ in range(3)])
    page = paper * (1 - cover) + colour * cover
    file = io.BytesIO()
    Image.fromarray(page.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()
