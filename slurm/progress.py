"""How far a stage is, from its files."""

from pathlib import Path

from pipeline.artefacts.manifest import num_images
from pipeline.artefacts.metrics import read_metrics
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper import schedule


def progress(config: StageConfig, root: Path) -> tuple[str, str]:
    """Return a stage's progress and the time left, where its files say so."""
    if isinstance(config, TrainConfig):
        return _of_training(config, root)
    if isinstance(config, PrepareConfig):
        shards = list((root / config.folder).glob("shards/*/*.json"))
        return f"{len(shards)} shards" if shards else "", ""
    if isinstance(config, EvaluateConfig) and (total := num_images(config.data, root, "val")):
        done = {path.stem for path in (root / config.folder).glob("chunks/*/*.safetensors")}
        images = sum(stop - start for start, stop in (map(int, name.split("-")) for name in done))
        return f"image {min(images, total)}/{total}", ""
    return "", ""


def _of_training(config: TrainConfig, root: Path) -> tuple[str, str]:
    num_train = num_images(config.data, root, "train")
    rows = read_metrics(config, root, last=5)
    if not num_train or not rows:
        return "", ""
    total = schedule.total_steps(num_train, config.num_epochs, config.global_batch_size)
    step, epoch = rows[-1]["step"], rows[-1].get("epoch", 0.0)
    speed = next(
        (row["images_per_second"] for row in reversed(rows) if "images_per_second" in row), 0.0
    )
    left = _time((total - step) * config.global_batch_size / speed) if speed else ""
    return f"step {step}/{total}, epoch {epoch:.1f}", left


def _time(seconds: float) -> str:
    """Return hours, minutes and seconds.

    >>> _time(3725)
    '1:02:05'
    """
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
