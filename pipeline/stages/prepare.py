"""Stage: a source of images -> shards, a manifest, and the list of what was left out."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pipeline.adapters import images, progress, sources
from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset, Record, Rejected, write_rejected, write_shards
from pipeline.study import InputError, PrepareConfig

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"})


def prepare(config: PrepareConfig, root: Path) -> Dataset:
    """Check every image of the source and store it; each file is in a shard or in rejected.jsonl.

    An image of the validation split that cannot be decoded is in both: it keeps its slot and counts as an error, so that no
    error is taken over those images alone that happen to be whole.

    Raises:
        InputError: the source is missing or malformed, a class has no usable image, or `root` holds this data set made
            from other files.
    """
    if config.is_complete(root):
        refuse_other_files(config, root)
        return Dataset(config, root)
    source = sources.open_source(config)
    with storage.lock(config, root):
        if not config.is_complete(root):
            _prepare(config, source, root)
    return Dataset(config, root)


def _prepare(config: PrepareConfig, source: sources.Source, root: Path) -> None:
    folder = storage.fresh_folder(root / config.folder)

    rejected: list[Rejected] = []
    counts: Counter[tuple[str, int]] = Counter()
    kept: Counter[tuple[str, int]] = Counter()
    files = progress.progress_of(source.files, f"prepare {config.name}", source.num_files, "images")
    written = [
        shard
        for split, group in groupby(files, key=lambda file: file.split)
        for shard in write_shards(folder, split, _records(group, rejected, counts, kept))
    ]
    for split in sources.SPLITS:
        for label, name in enumerate(source.classes):
            why = next((r.reason for r in rejected if r.split == split and r.name.startswith(f"{name}/")), None)
            if not counts[split, label] and why is not None:
                raise InputError(f"class {name} has no usable image in {split}/ (the first was rejected: {why})")
    if not any(counts.values()):
        raise InputError(f"data set {config.name}: has no usable image (the first was rejected: {rejected[0].reason})")

    in_all = counts + kept
    per_class = {split: [in_all[split, label] for label in range(len(source.classes))] for split in sources.SPLITS}
    totals = {split: sum(numbers) for split, numbers in per_class.items()}
    facts = {
        "classes": source.classes,
        "num_files": source.num_files,
        "num_images": totals,
        "num_rejected": len(rejected) - kept.total(),
        "num_unreadable": kept.total(),
        "images_per_class": per_class,
        "source_fingerprint": source.fingerprint,
    }
    storage.seal(config, root, [*written, write_rejected(folder, rejected)], facts)
    with Tracker(config, root) as tracker:
        tracker.summarise({"num_rejected": len(rejected), **{f"num_{s}_images": n for s, n in totals.items()}})


def refuse_other_files(config: PrepareConfig, root: Path) -> None:
    """Raise InputError if a path is given whose files are not those that the finished data set was made from."""
    if config.path is None:
        return
    if sources.open_source(config).fingerprint != Dataset(config, root).manifest["source_fingerprint"]:
        raise InputError(
            f"{config.path}: holds other files than those {root / config.folder} was made from; choose another --root"
        )


def _records(
    files: Iterator[sources.SourceFile],
    rejected: list[Rejected],
    counts: Counter[tuple[str, int]],
    kept: Counter[tuple[str, int]],
) -> Iterator[Record]:
    """What is stored: the usable files, counted, and the unreadable ones that keep their slot."""
    for file in files:
        if file.encoded is None:
            rejected.append(Rejected(file.split, file.name, "not a regular file"))
            continue
        try:
            image = images.decode(file.encoded)
        except images.BadImage as error:
            keeps_slot = file.split == "val" and Path(file.name).suffix.lower() in IMAGE_SUFFIXES
            rejected.append(Rejected(file.split, file.name, str(error), keeps_slot))
            if keeps_slot:
                kept[file.split, file.label] += 1
                yield Record(file.name, file.encoded, file.label, 0, 0, hashlib.sha256(file.encoded).hexdigest())
            continue
        counts[file.split, file.label] += 1
        digest = hashlib.sha256(file.encoded).hexdigest()
        yield Record(file.name, file.encoded, file.label, image.width, image.height, digest)
