"""Stage: a source of images -> shards, a manifest, and the list of what was left out."""

import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipeline.adapters import sources
from pipeline.adapters.environment import cores_per_rank
from pipeline.adapters.pool import share
from pipeline.adapters.progress import Progress
from pipeline.adapters.sources import Archive, Source
from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import LEAKS, REJECTED, Dataset
from pipeline.artefacts.shards import Rejected, ShardNote, read_shard
from pipeline.stages.fill_shard import Shard, Work, work_of
from pipeline.study import InputError, PrepareConfig


def prepare(config: PrepareConfig, root: Path, processes: int | None = None) -> Dataset:
    """Check every image of the source and store it; each file is in a shard or in rejected.jsonl.

    An image of the validation split that cannot be decoded is in both: it keeps its slot and counts as an error, so that no
    error is taken over those images alone that happen to be whole. Shards are shared by `processes` (by default one a core);
    they are the same bytes for any number, and those that an interrupted attempt finished are not made again.

    Raises:
        InputError: the source is missing or malformed, a class has no usable image, or `root` holds this data set made
            from other files.
    """
    if config.is_complete(root):
        refuse_other_files(config, root)
        return Dataset(config, root)
    source = sources.open_source(config)
    with storage.lock(config, root, fences=True):
        if not config.is_complete(root):
            work, steps = work_of(config, source, root)
            _do(work, steps, config.name, processes)
            _conclude(config, source, work, steps, root)
    return Dataset(config, root)


def prepare_part(config: PrepareConfig, root: Path, part: int, num_parts: int) -> None:
    """Do every `num_parts`-th step of a preparation, from step `part` on; `prepare` does what is left, and concludes."""
    if not config.is_complete(root):
        work, steps = work_of(config, sources.open_source(config), root)
        _do(work, steps[part::num_parts], config.name, None)


def refuse_other_files(config: PrepareConfig, root: Path) -> None:
    """Raise InputError if a path is given whose files are not those that the finished data set was made from."""
    if config.path is None:
        return
    if sources.open_source(config).fingerprint != Dataset(config, root).manifest["source_fingerprint"]:
        raise InputError(
            f"{config.path}: holds other files than those {root / config.folder} was made from; choose another --root"
        )


def _do(work: Work, steps: list[Shard | Archive], name: str, processes: int | None) -> None:
    """All steps that no earlier attempt did. The archives' digests are taken beside the shards, from the same pages."""
    label = f"prepare {name}"
    left = [step for step in steps if not work.is_done(step)]
    if len(left) < len(steps):
        print(f"{label}: {len(steps) - len(left)} of {len(steps)} steps were done before", file=sys.stderr)
    total, started = sum(step.num_bytes for step in left) / 1e6, time.monotonic()
    images, megabytes = 0, 0.0
    with Progress(label, round(total), "MB") as progress:
        for done in share(work.do, left, processes or cores_per_rank()):
            images, megabytes = images + done.num_images, megabytes + done.num_bytes / 1e6
            seconds = time.monotonic() - started
            progress.advance(round(megabytes) - progress.done, f"{images / seconds:.0f} images/s")
        if left:
            speed = f"{images / seconds:.0f} images/s, {megabytes / seconds:.0f} MB/s"
            progress.say(f"{label}: {images} images, {megabytes:.0f} MB in {seconds:.1f} s: {speed}")


def _conclude(config: PrepareConfig, source: Source, work: Work, steps: list[Shard | Archive], root: Path) -> None:
    notes = [work.note(step.name) for step in steps if isinstance(step, Shard)]
    assert all(notes), "a shard without a note"
    found = [note for note in notes if note]
    files, usable, unreadable = (_per_class(found, kind, config, source) for kind in ("files", "images", "unreadable"))
    rejected = [Rejected(*item) for note in found for item in note.rejected]
    _refuse_empty_classes(config, source, files, usable, rejected)
    _remove_remains(work, {note.name for note in found})
    leaks, num_twice = _same_bytes(work.folder, found)
    totals = {split: sum(usable[split]) + sum(unreadable[split]) for split in sources.SPLITS}
    num_unreadable = sum(map(sum, unreadable.values()))
    facts = {
        "classes": source.classes,
        **({"class_words": source.class_words} if source.class_words else {}),
        "num_files": sum(sum(note.files.values()) for note in found),
        "num_images": totals,
        "num_rejected": len(rejected) - num_unreadable,
        "num_unreadable": num_unreadable,
        "images_per_class": {
            split: [a + b for a, b in zip(usable[split], unreadable[split], strict=True)] for split in sources.SPLITS
        },
        "num_leaks": len(leaks),
        "num_duplicates": num_twice,
        "num_bytes": sum(note.num_bytes for note in found),
        "source_fingerprint": source.fingerprint,
        "source_md5": {archive.path.name: archive.md5 for archive in source.archives},
        **(source.judge({split: files[split] for split in config.splits}) if source.judge else {}),
    }
    lines = {REJECTED: [item._asdict() for item in rejected], LEAKS: leaks}
    for name, items in lines.items():
        storage.write_atomic(work.folder / name, "".join(json.dumps(item) + "\n" for item in items).encode())
    digests = {note.name: note.digest for note in found}
    storage.seal(config, root, [work.folder / name for name in lines], facts, known=digests)
    for line in in_words(facts):
        print(f"prepare {config.name}: {line}", file=sys.stderr)
    with Tracker(config, root) as tracker:
        tracker.summarise({"num_rejected": len(rejected), **{f"num_{s}_images": n for s, n in totals.items()}})


def in_words(facts: dict[str, Any]) -> list[str]:
    """What a person should know of a data set, from its manifest."""
    found = [f"{facts['num_images']['train']} train and {facts['num_images']['val']} val images of {facts['num_files']} files"]
    if facts["num_rejected"] or facts["num_unreadable"]:
        said = f"{facts['num_rejected']} files are left out, {facts['num_unreadable']} unreadable val images count as errors"
        found.append(f"{said}: {REJECTED} names them")
    if facts["num_leaks"]:
        found.append(f"{facts['num_leaks']} val images are in train too, byte for byte: {LEAKS} names them")
    if "verdict" in facts:
        found.append(facts["verdict"])
    return found


def _per_class(notes: list[ShardNote], kind: str, config: PrepareConfig, source: Source) -> dict[str, list[int]]:
    """Sums over the shards of each split, by class."""
    count: Counter[tuple[str, int]] = Counter()
    for note in notes:
        for label, number in getattr(note, kind).items():
            count[note.name.partition("-")[0], label] += number
    return {split: [count[split, label] for label in range(len(source.classes))] for split in sources.SPLITS}


def _refuse_empty_classes(
    config: PrepareConfig, source: Source, files: dict[str, list[int]], usable: dict[str, list[int]], rejected: list[Rejected]
) -> None:
    if not any(map(any, usable.values())):
        why = f" (the first was rejected: {rejected[0].reason})" if rejected else ""
        raise InputError(f"data set {config.name}: has no usable image{why}")
    for split in config.splits:
        for name, there, good in zip(source.classes, files[split], usable[split], strict=True):
            if there and not good:
                reason = next((r.reason for r in rejected if r.split == split and r.name.startswith(f"{name}/")), "")
                why = f" (the first was rejected: {reason})" if reason else ""
                raise InputError(f"class {name} has no usable image in {split}/{why}")


def _remove_remains(work: Work, shards: set[str]) -> None:
    """Of attempts that were interrupted, or made from other files."""
    for path in work.folder.iterdir():
        if path.is_file() and path.name not in shards:
            path.unlink()
    for path in work.notes.parent.iterdir():
        if path != work.notes:
            shutil.rmtree(path)


def _same_bytes(folder: Path, notes: list[ShardNote]) -> tuple[list[dict[str, str]], int]:
    """Validation images whose bytes a training image has too, and how many images repeat another of their split."""
    columns = {}
    for split in sources.SPLITS:
        tables = [read_shard(folder / note.name) for note in notes if note.name.startswith(f"{split}-")]
        names = [name for table in tables for name in table["image_id"].to_pylist()]
        digests = [digest for table in tables for digest in pc.coalesce(table["source_sha256"], table["sha256"]).to_pylist()]
        columns[split] = list(zip(digests, names, strict=True))
    train: dict[str, str] = {}
    for digest, name in columns["train"]:
        train.setdefault(digest, name)
    leaks = [{"val": name, "train": train[digest], "sha256": digest} for digest, name in columns["val"] if digest in train]
    num_twice = sum(len(rows) - len({digest for digest, _ in rows}) for rows in columns.values())
    return leaks, num_twice
