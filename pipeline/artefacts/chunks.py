"""Chunks: the scores of some images, while an evaluation is made, and their digests."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

DIGEST = "sha256"  # the entry of a chunk's own note


def is_whole(path: Path, identity: str) -> bool:
    """Return whether a chunk is what was written for this evaluation and its images."""
    try:
        with safe_open(path, "np") as file:
            content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            note: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        return False
    return note.pop(DIGEST, None) == chunk_digest(content, note, identity)


def chunk_digest(content: Mapping[str, np.ndarray], note: Mapping[str, str], identity: str) -> str:
    """Return the digest of a chunk's arrays, its note and its identity."""
    digest = hashlib.sha256((identity + json.dumps(dict(note), sort_keys=True)).encode())
    for name in sorted(content):
        values = content[name]
        digest.update(f"{name} {values.dtype} {values.shape} ".encode() + values.tobytes())
    return digest.hexdigest()


def tensor_of(chunk: Path, name: str) -> np.ndarray:
    """Return one array of a chunk's file."""
    with safe_open(chunk, "np") as file:
        values: np.ndarray = file.get_tensor(name)
    return values


def each_once(chunks: Sequence[range]) -> list[tuple[range, range]]:
    """Return which images of each chunk count, in order and each once, from image 0 up
    to the first that no chunk has.

    >>> each_once([range(0, 4), range(2, 6), range(3, 5), range(8, 9)])
    [(range(0, 4), range(0, 4)), (range(2, 6), range(4, 6))]
    """
    parts, done = list[tuple[range, range]](), 0
    for chunk in sorted(chunks, key=lambda each: (each.start, each.stop)):
        if chunk.start <= done < chunk.stop:
            parts.append((chunk, range(done, chunk.stop)))
            done = chunk.stop
    return parts
