"""Digests of chunks: the scores of some images, while an evaluation is made."""

import hashlib
import json
from collections.abc import Mapping
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
