"""runs/<hash>/: config, attempts, metrics, checkpoints and the final weights of one
training.
"""

import json
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.artefacts import locks, provenance, sealing
from pipeline.artefacts.checkpoints import Checkpoints
from pipeline.artefacts.contents import RunFacts
from pipeline.artefacts.metrics import metrics_path, read_metrics
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageFailed, TrainingDiverged
from pipeline.runtime import disk

Weights = Literal["averaged", "raw", "best"]
FILES: dict[Weights, str] = {
    "averaged": "model.safetensors",
    "raw": "raw.safetensors",
    "best": "best.safetensors",
}

# of an attempt: what last bits depend on
BITS = ("commit", "code", "python", "versions", "environment", "hardware", "world_size")


class Run:
    """One training's folder under `root`.

    An attempt to train claims the next number (`claim`); the number is its fencing
    token. Should a lock fail to hold, as on some shared disks or when a node is lost
    but alive, the newer attempt goes on and the older one cannot write any more.
    """

    def __init__(self, config: TrainConfig, root: Path):
        self.config, self.root = config, root
        self.folder = root / config.folder
        self.metrics_path = metrics_path(config, root)
        self.postmortem_path = self.folder / "postmortem.json"
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.attempt: int | None = None

    def weights(self, kind: Weights) -> dict[str, Tensor]:
        """Final weights of a complete run by parameter name; `best`: the average where
        its validation error was lowest.
        """
        sealing.unseal(self.config, self.root)
        return load_file(self._final(FILES[kind]))

    def metrics(self) -> list[dict[str, Any]]:
        """The rows logged so far."""
        return read_metrics(self.config, self.root)

    def claim(self, facts: dict[str, Any]) -> None:
        """Begin an attempt: from now on, earlier ones cannot write. Its file holds its
        provenance and `facts`.
        """
        content = {
            **locks.holder(),
            **facts,
            "config": self.config.model_dump(mode="json"),
            **provenance.collect(),
        }
        content["started_at"] = content.pop("finished_at")
        number = 1 + max(
            (int(path.stem) for path in self._attempt_path(0).parent.glob("*.json")), default=0
        )
        while not disk.publish(
            self._attempt_path(number), (json.dumps(content, indent=1) + "\n").encode()
        ):
            number += 1
        self.attempt = number

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        self._refuse_if_superseded()
        with self.metrics_path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def write_postmortem(self, facts: dict[str, Any]) -> None:
        """Say what was going on when the training had to end: the step, its loss, its
        images.
        """
        self._refuse_if_superseded()
        disk.write_json(self.postmortem_path, facts)

    def save_checkpoint(self, step: int, state: dict[str, Any], error: float | None = None) -> None:
        """Save the state after `step` steps (see `Checkpoints.save`)."""
        self.checkpoints.save(step, state, error, self._refuse_if_superseded)

    def rewind_metrics(self, step: int) -> None:
        """Drop rows logged after `step`: they will be logged again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        disk.write_atomic(
            self.metrics_path, "".join(json.dumps(row) + "\n" for row in rows).encode()
        )

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
            disk.write_atomic(self._final(FILES[kind]), save(contiguous))
        disk.write_atomic(self._final("README.md"), model_card.encode())
        paths = [self._final(FILES[kind]) for kind in weights]
        # not the metrics, nor the card: they hold the clock
        sealing.seal(self.config, self.root, paths, {**facts, "elsewhere": self._elsewhere()})
        self.checkpoints.remove()

    def _elsewhere(self) -> list[dict[str, Any]]:
        """On what earlier attempts ran, where that differs from this one: the
        weights may come from all.
        """
        found: list[dict[str, Any]] = []
        for path in sorted(self._attempt_path(0).parent.glob("*.json")):
            attempt = json.loads(path.read_text())
            found.append({key: attempt[key] for key in BITS if key in attempt})
        return [ran for k, ran in enumerate(found) if ran not in (*found[:k], found[-1])]

    def _final(self, name: str) -> Path:
        return self.folder / "final" / name

    def _attempt_path(self, number: int) -> Path:
        return self.folder / "attempts" / f"{number:06d}.json"

    def _refuse_if_superseded(self) -> None:
        if self.attempt is None:
            raise RuntimeError(f"{self.folder}: nothing is written before an attempt is claimed")
        newer = self._attempt_path(self.attempt + 1)
        if newer.exists():
            by = json.loads(newer.read_text())
            raise StageFailed(
                f"{self.folder}: attempt {self.attempt} stops, as attempt {self.attempt + 1} took"
                f" over: {locks.said(by)}"
            )
