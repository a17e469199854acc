"""predictions/<hash>/: mean probabilities of every validation image, by crop policy.

Its hits say where the true label ranks in every image.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from safetensors import safe_open
from safetensors.numpy import save

from pipeline.artefacts import sealing
from pipeline.artefacts.chunks import DIGEST, chunk_digest, each_once, is_whole, tensor_of
from pipeline.artefacts.contents import EvaluationFacts, PredictionsFacts
from pipeline.artefacts.digests import once
from pipeline.artefacts.scores import Scores, write_scores
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.errors import StageFailed
from pipeline.runtime import device, disk
from pipeline.statistics.label_ranks import rank_of_label

HITS = "hits.parquet"


class Predictions:
    """One evaluation's folder under `root`.

    It has chunks while it is made, and one file for each policy when it is complete.
    """

    def __init__(self, config: EvaluateConfig, root: Path):
        self.config, self.root = config, root
        self.folder = root / config.folder

    def probabilities(self, policy: str) -> np.ndarray:
        """Return the probabilities under a policy: images x classes, float32.

        The images have the order of the validation split.
        """
        return self.scores(policy)[:]

    def scores(self, policy: str) -> Scores:
        """Return the probabilities under a policy; slices of them are read."""
        return Scores(sealing.sealed_file(self.config, self.root, f"{policy}.safetensors"))

    def top1_error(self) -> float:
        """Return the top-1 error at one crop, or else at the first policy.

        By this error the paper's authors chose their best models.
        """
        return float(
            (
                self.ranks(
                    "crops_1" if "crops_1" in self.config.policies else self.config.policies[0]
                )
                >= 1
            ).mean()
        )

    def ranks(self, policy: str) -> np.ndarray:
        """Return where the true label ranks in every image."""
        return self.hits(f"rank_{policy}")

    def hits(self, column: str) -> np.ndarray:
        """Return a column of hits.parquet: image_id, label or rank_<policy>."""
        return read_column(sealing.sealed_file(self.config, self.root, HITS), column)

    def chunks(self) -> list[range]:
        """Return the chunks that are done, in order; two attempts' may overlap."""
        paths = sorted(self._chunks_folder.glob("[0-9]*-*.safetensors"))
        every = (range(*map(int, path.stem.split("-"))) for path in paths)
        return [chunk for chunk in every if self.has_chunk(chunk)]

    def missing(self, images: range) -> list[int]:
        """Return those images that no chunk has."""
        done = {index for chunk in self.chunks() for index in chunk}
        return [index for index in images if index not in done]

    def has_chunk(self, chunk: range) -> bool:
        """Return whether a chunk of images is done.

        A damaged chunk is removed, so that it is done again.
        """
        path = self._chunk_path(chunk)
        if not path.exists():
            return False
        if not once(path, is_whole, self._identity(chunk)):
            print(f"{path}: is damaged; it is done again", file=sys.stderr)
            path.unlink(missing_ok=True)
            return False
        return True

    def publish_chunk(
        self,
        chunk: range,
        scores: Mapping[str, np.ndarray],
        bad: Mapping[int, str],
        seconds: float,
        engine: str,
        hardware: Mapping[str, str] | None = None,
    ) -> None:
        """Store a chunk's scores (images x classes), by policy.

        If an earlier attempt stored the chunk, it stays as it is. `bad` has the reason
        for each image that could not be classified; its scores are NaN, which no true
        label beats. `engine` and `hardware` say how and where it was computed.

        Raises:
            StageFailed: a score of an image that is not bad is NaN or infinite.
        """
        good = [row for row, index in enumerate(chunk) if index not in bad]
        if not all(np.isfinite(values[good]).all() for values in scores.values()):
            raise StageFailed(
                f"{self.folder}: the classifier's outputs for images {list(chunk)} are not finite"
            )
        extra = {"ids": np.asarray(chunk, np.int64), "seconds": np.asarray([seconds])}
        content = extra | {name: np.ascontiguousarray(values) for name, values in scores.items()}
        note = {"bad": json.dumps(dict(bad)), "engine": engine}
        note["hardware"] = json.dumps(dict(hardware or {}))
        note[DIGEST] = chunk_digest(content, note, self._identity(chunk))
        disk.publish(self._chunk_path(chunk), save(content, note))

    def merge(
        self,
        chunks: Sequence[range],
        image_ids: Sequence[str],
        labels: np.ndarray,
        facts: EvaluationFacts,
    ) -> dict[str, str]:
        """Join the chunks into one file for each policy, and seal the predictions.

        Where two attempts scored an image, the scores of one count.

        Returns the images that could not be classified, with the reason; they count as
        errors.

        Raises:
            StageFailed: the chunks do not hold every image.
        """
        if lost := next((chunk for chunk in chunks if not self.has_chunk(chunk)), None):
            raise StageFailed(
                f"{self._chunk_path(lost)}: the scores of these images are gone; the same command"
                " makes them again"
            )
        parts = each_once(chunks)
        if (number := sum(len(rows) for _, rows in parts)) != len(image_ids):
            raise StageFailed(
                f"{self.folder}: the chunks hold {number} of {len(image_ids)} images; the same"
                " command makes the others"
            )
        columns: dict[str, Any] = {"image_id": list(image_ids), "label": labels.astype(np.int32)}
        files = []
        for policy in self.config.policies:
            rank = np.empty(len(labels), np.int32)
            scores = self._scores(parts, policy, labels, rank)
            shape = (len(labels), tensor_of(self._chunk_path(chunks[0]), policy).shape[1])
            files.append(write_scores(self.folder / f"{policy}.safetensors", shape, scores))
            columns[f"rank_{policy}"] = rank
        files.append(write_table(self.folder / HITS, columns))
        seconds = float(sum(tensor_of(self._chunk_path(c), "seconds")[0] for c in chunks))
        notes = [self._note(chunk) for chunk in chunks]
        bad = {
            image_ids[int(index)]: reason
            for note in notes
            for index, reason in json.loads(note["bad"]).items()
        }
        whole = PredictionsFacts(
            **dict(facts),
            bad_images=bad,
            # the chunks name it: other jobs than this one may have computed them
            hardware=device.joined([json.loads(note.get("hardware", "{}")) for note in notes]),
            engines=sorted({note["engine"] for note in notes}),
            core_or_gpu_seconds=round(seconds, 2),
            core_or_gpu_hours=round(seconds / 3600, 4),
        )
        sealing.PREDICTIONS.seal(self.config, self.root, files, whole)
        shutil.rmtree(self.folder / "chunks", ignore_errors=True)
        return bad

    def _scores(
        self,
        parts: Sequence[tuple[range, range]],
        policy: str,
        labels: np.ndarray,
        rank: np.ndarray,
    ) -> Iterator[np.ndarray]:
        """Yield the scores of chunks in order, and fill in where the label ranks."""
        for chunk, images in parts:
            scores = tensor_of(self._chunk_path(chunk), policy)[images.start - chunk.start :]
            rows = slice(images.start, images.stop)
            rank[rows] = rank_of_label(scores, labels[rows])
            yield scores

    def _identity(self, chunk: range) -> str:
        """Return what no other chunk has: the evaluation, its inputs and the images."""
        return f"{self.config.hash} {self._inputs_digest} {chunk.start}-{chunk.stop}"

    def _note(self, chunk: range) -> dict[str, str]:
        with safe_open(self._chunk_path(chunk), "np") as file:
            metadata: dict[str, str] = file.metadata()
        return metadata

    def _chunk_path(self, chunk: range) -> Path:
        return self._chunks_folder / f"{chunk.start:07d}-{chunk.stop:07d}.safetensors"

    @property
    def _chunks_folder(self) -> Path:
        return self.folder / "chunks" / self._inputs_digest

    @cached_property
    def _inputs_digest(self) -> str:
        """A digest of the data and the weights.

        Chunks that were made from other data or weights have another one, so they do
        not count.
        """
        digests = [sealing.unseal(source, self.root).digest for source in self.config.inputs]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]


def best_member(members: Sequence[EvaluateConfig], root: Path) -> int:
    """Return the place of the member with the lowest top-1 error at one crop.

    Where several have that error, return the first.
    """
    return min(range(len(members)), key=lambda k: Predictions(members[k], root).top1_error())


def read_column(path: Path, column: str) -> np.ndarray:
    """Return a column of a parquet file."""
    values: np.ndarray = parquet.read_table(path, columns=[column])[column].to_numpy()
    return values


def write_table(path: Path, columns: Mapping[str, Any]) -> Path:
    """Write columns as a parquet file, atomically, and return its path."""
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(dict(columns)), sink)
    disk.write_atomic(path, sink.getvalue().to_pybytes())
    return path
