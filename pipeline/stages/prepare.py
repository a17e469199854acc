"""Stage: a source of images -> shards, a manifest, and lists of unusable images."""

import json
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.contents import ManifestFacts
from pipeline.artefacts.dataset import LEAKS, REJECTED, Dataset
from pipeline.artefacts.leaks import same_bytes
from pipeline.artefacts.shards import Rejected, ShardNote
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError, StageFailed
from pipeline.reporting.preparation import in_words
from pipeline.runtime import disk, remains
from pipeline.runtime.environment import cores_per_rank
from pipeline.runtime.pool import share
from pipeline.runtime.progress import Progress
from pipeline.runtime.signals import end_is_stop
from pipeline.sources import registry as sources
from pipeline.sources.base import SPLITS, Archive, Source
from pipeline.sources.clutter import total
from pipeline.sources.registry import refuse_other_files
from pipeline.sources.shard_writer import Shard, Work, work_of
from pipeline.tracking.tracker import Tracker


def prepare(config: PrepareConfig, root: Path, processes: int | None = None) -> Dataset:
    """Check every image of the source and store it.

    Each file is in a shard or in rejected.jsonl. An image of the validation split that
    cannot be decoded is in both: it keeps its slot and counts as an error. Otherwise
    errors would cover only the images that happen to be whole.

    Several `processes` (by default one a core) share the shards. The bytes are the same
    for any number of processes. A shard that an interrupted attempt finished is not
    made again.

    Raises:
        InputError: the source is missing or malformed, a class has no usable image, or
            `root` holds this data set, but made from other files.
    """
    if config.is_complete(root):
        refuse_other_files(config, root)
        return Dataset(config, root)
    source = sources.open_source(config)
    for note in source.notes:
        print(f"prepare {config.name}: {note}", file=sys.stderr)
    with locks.lock(config, root, fences=True):
        if config.is_complete(root):  # another process was first, perhaps with other files
            refuse_other_files(config, root)
        else:
            work, steps = work_of(config, source, root)
            with end_is_stop():
                _do(work, steps, config.name, processes)
            _conclude(config, source, work, steps, root)
    return Dataset(config, root)


def prepare_part(config: PrepareConfig, root: Path, part: int, num_parts: int) -> None:
    """Do every `num_parts`-th step of a preparation, from step `part` on.

    `prepare` does the rest, and completes the data set.
    """
    if not config.is_complete(root):
        work, steps = work_of(config, sources.open_source(config), root)
        _do(work, steps[part::num_parts], config.name, None)


def _do(work: Work, steps: list[Shard | Archive], name: str, processes: int | None) -> None:
    """Do all steps that no earlier attempt did.

    The digests of archives are steps beside the shards: both read the same pages.
    """
    label = f"prepare {name}"
    remains.sweep(work.folder)
    open_steps = [step for step in steps if not work.is_done(step)]
    if len(open_steps) < len(steps):
        print(
            f"{label}: {len(steps) - len(open_steps)} of {len(steps)} steps were done before",
            file=sys.stderr,
        )
    total, started = sum(step.num_bytes for step in open_steps) / 1e6, time.monotonic()
    images, megabytes = 0, 0.0
    with Progress(label, round(total), "MB") as progress:
        try:
            for result in share(work.do, open_steps, processes or cores_per_rank()):
                images, megabytes = images + result.num_images, megabytes + result.num_bytes / 1e6
                seconds = time.monotonic() - started
                note = f"{images / seconds:.0f} images/s"
                progress.advance(round(megabytes) - progress.done, note)
        finally:
            remains.sweep(work.folder)  # after an error the other processes were ended
        if open_steps:
            speed = f"{images / seconds:.0f} images/s, {megabytes / seconds:.0f} MB/s"
            progress.say(
                f"{label}: {images} images, {megabytes:.0f} MB in {seconds:.1f} s: {speed}"
            )


def _conclude(
    config: PrepareConfig, source: Source, work: Work, steps: list[Shard | Archive], root: Path
) -> None:
    shards = [step for step in steps if isinstance(step, Shard)]
    notes = [note for shard in shards if (note := work.note(shard.name))]
    if len(notes) < len(shards):
        raise StageFailed(
            f"{work.folder}: {len(shards) - len(notes)} of {len(shards)} shards have lost their"
            " notes"
        )
    files, usable, unreadable = (
        _per_class(notes, kind, len(source.classes)) for kind in ("files", "images", "unreadable")
    )
    _refuse_empty_classes(config, source, files, usable, notes)
    listings, leaks = lists(work.folder, notes)
    images = {
        split: [a + b for a, b in zip(usable[split], unreadable[split], strict=True)]
        for split in SPLITS
    }
    num_unreadable = sum(map(sum, unreadable.values()))
    num_bad = [len(note.rejected) for note in notes]
    completeness = (
        source.judge({split: files[split] for split in config.splits}, sum(num_bad))
        if source.judge
        else None
    )
    facts = ManifestFacts(
        classes=source.classes,
        num_files=sum(sum(note.files.values()) for note in notes),
        num_images={split: sum(numbers) for split, numbers in images.items()},
        num_rejected=sum(num_bad) - num_unreadable,
        num_unreadable=num_unreadable,
        images_per_class=images,
        num_leaks=leaks,
        num_bytes=sum(note.num_bytes for note in notes),
        shards=work.folder.relative_to(root / config.folder).as_posix(),
        source_fingerprint=source.fingerprint,
        source_md5={archive.path.name: archive.md5 for archive in source.archives},
        class_words=source.class_words or None,
        is_complete=completeness.is_complete if completeness else None,
        verdict=completeness.verdict if completeness else None,
        left_out=total([source.left_out, *(note.left_out for note in notes)]) or None,
        bytes_of_splits=_bytes_of_splits(notes, config.splits),
    )
    if config.is_complete(root):  # a later attempt did it, while this one seemed lost
        return
    for name, content in listings.items():
        disk.write_atomic(root / config.folder / name, content)
    digests = {note.name: note.digest for note in notes}
    sealing.DATASET.seal(
        config, root, [root / config.folder / name for name in listings], facts, known=digests
    )
    _remove_remains(work)
    for line in in_words(facts):
        print(f"prepare {config.name}: {line}", file=sys.stderr)
    with Tracker(config, root) as tracker:
        tracker.conclude(
            {
                "num_rejected": facts.num_rejected,
                **{f"num_{s}_images": sum(n) for s, n in images.items()},
            }
        )


def lists(folder: Path, notes: list[ShardNote]) -> tuple[dict[str, bytes], int]:
    """Return the contents of rejected.jsonl and leaks.jsonl, and the number of leaks.

    They come from the shards and their notes. The number counts val images.
    """
    rejected = [Rejected(*item)._asdict() for note in notes for item in note.rejected]
    leaks = same_bytes(folder, notes)
    rows = {REJECTED: rejected, LEAKS: [leak.plain() for leak in leaks]}
    contents = {
        name: "".join(json.dumps(row) + "\n" for row in listing).encode()
        for name, listing in rows.items()
    }
    return contents, sum(len(leak.val) for leak in leaks)


def _bytes_of_splits(notes: list[ShardNote], splits: tuple[str, ...]) -> dict[str, int] | None:
    """Return the bytes of each split's images; None where an old note lacks them."""
    sizes: Counter[str] = Counter(dict.fromkeys(splits, 0))
    for note in notes:
        if note.image_bytes is None:
            return None
        sizes[note.name.partition("-")[0]] += note.image_bytes
    return dict(sizes)


def _per_class(notes: list[ShardNote], kind: str, num_classes: int) -> dict[str, list[int]]:
    """Return the counts of a kind for each class, summed over the shards of a split."""
    count: Counter[tuple[str, int]] = Counter()
    for note in notes:
        for label, number in getattr(note, kind).items():
            count[note.name.partition("-")[0], label] += number
    return {split: [count[split, label] for label in range(num_classes)] for split in SPLITS}


def _refuse_empty_classes(
    config: PrepareConfig,
    source: Source,
    files: dict[str, list[int]],
    usable: dict[str, list[int]],
    notes: list[ShardNote],
) -> None:
    rejected = [Rejected(*item) for note in notes for item in note.rejected]
    if not any(map(any, usable.values())):
        why = f" (the first was rejected: {rejected[0].reason})" if rejected else ""
        raise InputError(f"data set {config.name}: has no usable image{why}")
    for split in config.splits:
        for name, there, good in zip(source.classes, files[split], usable[split], strict=True):
            if there and not good:
                reason = next(
                    (
                        r.reason
                        for r in rejected
                        if r.split == split and r.name.startswith(f"{name}/")
                    ),
                    "",
                )
                why = f" (the first was rejected: {reason})" if reason else ""
                raise InputError(f"class {name} has no usable image in {split}/{why}")


def _remove_remains(work: Work) -> None:
    """Remove the remains of attempts that were interrupted, or had other files.

    The data set is sealed by now: an error here does no harm.
    """
    for path in work.folder.glob(".*"):
        path.unlink(missing_ok=True)
    for path in work.folder.parent.iterdir():
        if path != work.folder:
            shutil.rmtree(path, ignore_errors=True)
