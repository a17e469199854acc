"""runs/<hash>/: config, metrics, checkpoints and the final weights of one training."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.artefacts import storage
from pipeline.study import TrainConfig

KEEP_CHECKPOINTS = 2  # ours: the newest may be damaged


class Run:
    """One training's folder under `root`."""

    def __init__(self, config: TrainConfig, root: Path):
        self.config, self.root = config, root
        self.folder = root / config.folder
        self.metrics_path = self.folder / "metrics.jsonl"
        self.postmortem_path = self.folder / "postmortem.json"

    def weights(self, kind: str) -> dict[str, Tensor]:
        """Final weights of a complete run, `averaged` or `raw`, by parameter name."""
        storage.unseal(self.config, self.root)
        return load_file(self._weights_path(kind))

    def _weights_path(self, kind: str) -> Path:
        return self.folder / "final" / ("model.safetensors" if kind == "averaged" else f"{kind}.safetensors")

    def metrics(self) -> list[dict[str, Any]]:
        """The rows logged so far."""
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]  # the last may be torn by a power cut

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        with self.metrics_path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def write_postmortem(self, facts: dict[str, Any]) -> None:
        """Say what was going on when the training had to end: the step, its loss, its images."""
        storage.write_json(self.postmortem_path, facts)

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Save the state after `step` steps; older checkpoints than the last two are removed."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        folder = self.folder / "checkpoints" / f"step_{step:08d}"
        partial = storage.fresh_folder(folder.with_name(f".{folder.name}"))
        storage.write_atomic(partial / "state.pt", buffer.getvalue())
        storage.write_json(partial / "checkpoint.json", {"step": step, "sha256": storage.sha256(partial / "state.pt")})
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
        for old in self._checkpoints()[KEEP_CHECKPOINTS:]:
            shutil.rmtree(old)

    def newest_checkpoint(self) -> Path | None:
        """The newest checkpoint that is whole; a damaged one is named and passed over."""
        for folder in self._checkpoints():
            try:
                noted = json.loads((folder / "checkpoint.json").read_text())["sha256"]
                if noted == storage.sha256(folder / "state.pt"):
                    return folder
            except (OSError, ValueError, KeyError):
                pass
            print(f"{folder}: checkpoint is damaged; trying the one before", file=sys.stderr)
        return None

    def load_checkpoint(self, folder: Path) -> dict[str, Any]:
        """The state in a checkpoint folder."""
        state: dict[str, Any] = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        return state

    def rewind_metrics(self, step: int) -> None:
        """Drop rows logged after `step`: they will be logged again."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        storage.write_atomic(self.metrics_path, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def finish(self, weights: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
        """Write the final weights by kind, seal the run, and remove its checkpoints."""
        paths = []
        for kind, tensors in weights.items():
            if broken := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
                raise FloatingPointError(f"{self.folder}: the final weights {broken} ({kind}) are not finite")
            path = self._weights_path(kind)
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            storage.write_atomic(path, save(contiguous))
            paths.append(path)
        storage.seal(self.config, self.root, paths, facts)  # not the metrics: they hold the clock
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def _checkpoints(self) -> list[Path]:
        """Newest first."""
        return sorted((self.folder / "checkpoints").glob("step_*"), reverse=True)
