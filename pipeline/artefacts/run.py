"""runs/<hash>/: one training, from its attempts to its final weights.

The folder holds the attempts, metrics, checkpoints and final weights.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.artefacts import locks, provenance, sealing
from pipeline.artefacts.checkpoints import Checkpoints
from pipeline.artefacts.contents import Elsewhere, MachineFacts, RunFacts
from pipeline.artefacts.facts import Commit, Holder
from pipeline.artefacts.metrics import METRICS, metrics_path, read_metrics
from pipeline.artefacts.metrics_file import Mark, MetricsFile
from pipeline.configs.network import WeightsNote
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageFailed, TrainingDiverged
from pipeline.runtime import disk, remains

ATTEMPT = re.compile(r"(\d{6,})\.json(\.damaged\d*)?")
Weights = Literal["averaged", "raw", "best"]
FILES: dict[Weights, str] = {
    "averaged": "model.safetensors",
    "raw": "raw.safetensors",
    "best": "best.safetensors",
}


class Attempt(Holder, MachineFacts, Commit):
    """The file attempts/<number>.json: who began to train, when and where."""

    data_digest: str
    config: dict[str, Any]
    command: str
    python: str
    versions: dict[str, str]
    machine: str
    environment: dict[str, str] | None = None
    started_at: str


class Run:
    """One training's folder under `root`.

    An attempt to train claims the next number (`claim`); the number is its fencing
    token. A lock may fail on some shared disks, or when a node is lost but alive. Then
    the newer attempt goes on, and the older one cannot write any more.
    """

    def __init__(self, config: TrainConfig, root: Path):
        self.config, self.root = config, root
        self.folder = root / config.folder
        self.metrics_path = metrics_path(config, root)
        self.postmortem_path = self.folder / "postmortem.json"
        self.checkpoints = Checkpoints(self.folder / "checkpoints", config.hash)
        self.attempt: int | None = None
        self._log = MetricsFile(self.metrics_path, self.checkpoints.folder / METRICS)

    def weights(self, kind: Weights) -> dict[str, Tensor]:
        """Return the final weights of a complete run, by parameter name.

        `best` weights are the averaged ones at the lowest validation error.
        """
        return load_file(self.weights_file(kind))

    def weights_file(self, kind: Weights) -> Path:
        """Return the file of the final weights of a complete run."""
        name = self._final(FILES[kind]).relative_to(self.folder).as_posix()
        return sealing.sealed_file(self.config, self.root, name)

    def metrics(self) -> list[dict[str, float]]:
        """Return the rows that were logged so far."""
        return read_metrics(self.config, self.root)

    def claim(self, machine: MachineFacts, data_digest: str) -> None:
        """Begin an attempt: from now on, earlier ones cannot write.

        The attempt's file holds its provenance, its machine and the digest of its data.
        Files of attempts that cannot be read are set aside.
        """
        holder, origin = locks.holder(), provenance.collect()
        attempt = Attempt(
            process=holder.process,
            host=holder.host,
            job=holder.job,
            **dict(machine),
            data_digest=data_digest,
            config=self.config.model_dump(mode="json"),
            commit=origin.commit,
            dirty=origin.dirty,
            code=origin.code,
            command=origin.command,
            python=origin.python,
            versions=origin.versions,
            machine=origin.machine,
            environment=origin.environment,
            started_at=origin.finished_at,
        )
        self._set_damaged_aside()
        number = 1 + max(self._numbers(), default=0)
        while not disk.publish(
            self._attempt_path(number), (json.dumps(attempt.plain(), indent=1) + "\n").encode()
        ):
            number += 1
        self.attempt = number

    def log(self, row: dict[str, float]) -> None:
        """Append a row to metrics.jsonl."""
        self._refuse_if_superseded()
        self._log.append(row)

    def write_postmortem(self, facts: dict[str, Any]) -> None:
        """Write why the training had to end: the step, its loss, its images."""
        self._refuse_if_superseded()
        disk.write_json(self.postmortem_path, facts)

    def save_checkpoint(
        self, step: int, state: Mapping[str, Any], error: float | None = None
    ) -> None:
        """Save the state after `step` steps (see `Checkpoints.save`)."""
        self.checkpoints.save(step, state, error, self._refuse_if_superseded)

    def mark_metrics(self) -> Mark:
        """Return what a checkpoint must know of metrics.jsonl."""
        self._refuse_if_superseded()
        return self._log.mark()

    def rewind_metrics(self, step: int, mark: Mark | None = None) -> None:
        """Drop the rows after `step`: they will be logged again.

        `mark` is what the checkpoint of that step knows of the log.
        """
        self._log.rewind(step, mark)

    def elsewhere(self) -> list[Elsewhere]:
        """Return where earlier attempts ran otherwise than this one.

        The weights may come from all of them.
        """
        places = [Elsewhere.load(path.read_bytes()) for path in self._attempt_files()]
        return [each for k, each in enumerate(places) if each not in (*places[:k], places[-1])]

    def finish(
        self, weights: dict[Weights, dict[str, Tensor]], facts: RunFacts, model_card: str
    ) -> None:
        """Write the final weights by kind, seal the run, and remove its checkpoints."""
        for kind, tensors in weights.items():
            if broken := next(
                (name for name, tensor in tensors.items() if not tensor.isfinite().all()), None
            ):
                raise TrainingDiverged(
                    f"{self.folder}: the final weights {broken} ({kind}) are not finite"
                )
        self._refuse_if_superseded()
        for kind, tensors in weights.items():
            contiguous = {
                name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()
            }
            disk.write_atomic(self._final(FILES[kind]), save(contiguous, self._note(kind)))
        disk.write_atomic(self._final("README.md"), model_card.encode())
        paths = [self._final(FILES[kind]) for kind in weights]
        timed = [path for path in (self.metrics_path, self._final("README.md")) if path.exists()]
        sealing.RUN.seal(self.config, self.root, paths, facts, timed=timed)
        self.checkpoints.remove()

    def _note(self, kind: Weights) -> dict[str, str]:
        return WeightsNote(
            network=self.config.network,
            pixels=self.config.pixels,
            aspect="warped" if self.config.sampling == "warped" else "kept",
            are_best=kind == "best",
        ).metadata

    def _final(self, name: str) -> Path:
        return self.folder / "final" / name

    def _attempt_path(self, number: int) -> Path:
        return self.folder / "attempts" / f"{number:06d}.json"

    def _attempt_files(self) -> list[Path]:
        return sorted(self._attempt_path(0).parent.glob("*.json"))

    def _numbers(self) -> list[int]:
        """Return the numbers of all attempts, also of those that are set aside."""
        names = [path.name for path in self._attempt_path(0).parent.glob("*")]
        return [int(match[1]) for name in names if (match := ATTEMPT.fullmatch(name))]

    def _set_damaged_aside(self) -> None:
        for path in self._attempt_files():
            if ATTEMPT.fullmatch(path.name) is None:
                remains.set_aside(path, "is no attempt to train")
                continue
            try:
                Elsewhere.load(path.read_bytes())
            except (OSError, ValueError):
                remains.set_aside(path, "is damaged")

    def _refuse_if_superseded(self) -> None:
        if self.attempt is None:
            raise RuntimeError(f"{self.folder}: nothing is written before an attempt is claimed")
        newest = max(self._numbers(), default=0)
        if newest > self.attempt:
            try:
                by = Holder.load(self._attempt_path(newest).read_bytes()).words
            except (OSError, ValueError):
                by = "another process"
            raise StageFailed(
                f"{self.folder}: attempt {self.attempt} stops, as attempt {newest} took over: {by}"
            )
