"""Check that a data set is still what was prepared: every byte of every image, every
row, every list. Repair it from the source.
"""

import hashlib
import re
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.digests import digest_of
from pipeline.artefacts.shard_checks import check_shard
from pipeline.artefacts.shards import read_note
from pipeline.configs.prepare import FolderConfig, PrepareConfig
from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.runtime.environment import cores_per_rank
from pipeline.runtime.pool import share
from pipeline.runtime.progress import progress_of
from pipeline.sources import registry as sources
from pipeline.sources.registry import refuse_other_files
from pipeline.sources.shard_writer import Shard, work_of
from pipeline.stages.prepare import lists

FILE = re.compile(r"(train|val)-\d{5}\.arrow|(rejected|leaks)\.jsonl|shards/[0-9a-f]{16}")


class FileState(NamedTuple):
    """The state of a file of a data set; it is sound if `problem` is empty."""

    file: str
    problem: str = ""
    num_images: int = 0


def data_sets(root: Path) -> tuple[Path, ...]:
    """Return the folders of all complete data sets under a root."""
    return tuple(
        sorted(
            path.parent for path in (root / PrepareConfig.room).glob(f"*/{PrepareConfig.last_file}")
        )
    )


def config_of(folder: Path) -> tuple[PrepareConfig, Path]:
    """Return the config of a data set, and the root that it lies under.

    Raises:
        InputError: the folder holds no data set, a damaged one, one of another version,
            or a copy under another name.
    """
    path = folder / PrepareConfig.last_file
    try:
        manifest = sealing.DATASET.load(path)
    except OSError:
        raise InputError(
            f"{folder}: is no prepared data set; expected a folder such as outputs/datasets/<hash>"
        ) from None
    except InputError as error:
        raise InputError(
            f"{error}; remove it and prepare the data set again: whole shards are kept"
        ) from None
    try:
        config = PrepareConfig.model_validate(manifest.config)
    except ValidationError:
        raise InputError(
            f"{path}: is of another version of going-deeper; prepare the data set anew"
        ) from None
    root = folder.absolute().parent.parent
    if root / config.folder != folder.absolute():
        raise InputError(
            f"{folder}: has another name than it was made under; call it ROOT/{config.folder}"
        )
    return config, root


def verify(config: PrepareConfig, root: Path, processes: int | None = None) -> list[FileState]:
    """Check every digest and the counts, and return the problems."""
    data = Dataset(config, root)
    files = data.manifest.files
    if data.manifest.digest != digest_of(files) or not all(
        map(FILE.fullmatch, [*files, data.manifest.shards])
    ):
        return [FileState(config.last_file, "does not list the files that were sealed")]
    check = partial(_check, data.folder, data.shards_folder, files, data.classes)
    results = list(
        progress_of(
            share(check, sorted(files), processes or cores_per_rank()),
            f"verify {config.name}",
            len(files),
            "files",
        )
    )
    problems = sorted(state for state in results if state.problem)
    for split, number in data.manifest.num_images.items():
        rows = sum(state.num_images for state in results if state.file.startswith(f"{split}-"))
        if rows != number and not problems:
            problems.append(
                FileState(config.last_file, f"says {number} {split} images, the shards hold {rows}")
            )
    return problems


def repair(config: PrepareConfig, root: Path, damaged: list[FileState]) -> None:
    """Make the damaged files again, from the source and the notes on the shards.

    All other files stay as they are.

    Raises:
        InputError: the source is gone or holds other files, or the manifest itself is
            damaged.
    """
    with locks.lock(config, root):
        _repair(config, root, damaged)


def _repair(config: PrepareConfig, root: Path, damaged: list[FileState]) -> None:
    refuse_other_files(config, root, compare_content=False)
    data = Dataset(config, root)
    if any(state.file == config.last_file for state in damaged):
        raise InputError(
            f"{data.folder / config.last_file}: is damaged; remove it and prepare the data set"
            " again"
        )
    work, steps = work_of(config, sources.open_source(config), root)
    repaired = work._replace(folder=data.folder / "repair")
    shards = [step for step in steps if isinstance(step, Shard)]
    sealed = data.manifest.files
    names = {state.file for state in damaged}
    for shard in shards:
        if shard.name in names or read_note(data.shards_folder / f"{shard.name}.json") is None:
            repaired.fill(shard)
            note = repaired.note(shard.name)
            if note is None or note.digest != sealed.get(shard.name):
                shutil.rmtree(repaired.folder)
                raise InputError(
                    f"{config.path if isinstance(config, FolderConfig) else config.source}: no"
                    f" longer holds what {shard.name} was made from; prepare the data set anew"
                )
            for name in (shard.name, f"{shard.name}.json"):
                disk.rename(repaired.folder / name, data.shards_folder / name)
    notes = [
        note for shard in shards if (note := read_note(data.shards_folder / f"{shard.name}.json"))
    ]
    for name, content in lists(data.shards_folder, notes)[0].items():
        if name in names and hashlib.sha256(content).hexdigest() != sealed[name]:
            raise InputError(
                f"{data.shards_folder}: the notes on the shards are damaged too; remove them and"
                " repair once more"
            )
        if name in names:
            disk.write_atomic(data.folder / name, content)
    shutil.rmtree(repaired.folder, ignore_errors=True)


def source_differs(config: PrepareConfig, root: Path, processes: int | None = None) -> list[str]:
    """Return the shards whose files in the source have other content than was prepared.

    All files of the source are read again; nothing is changed.

    Raises:
        InputError: the data set is not complete, or the source is gone or holds other
            files.
    """
    data = Dataset(config, root)
    refuse_other_files(config, root, compare_content=False)
    work, steps = work_of(config, sources.open_source(config), root)
    shards = [step for step in steps if isinstance(step, Shard)]
    with tempfile.TemporaryDirectory(dir=data.folder, prefix=".check.") as scratch:
        again = work._replace(folder=Path(scratch))
        filled = share(again.do, shards, processes or cores_per_rank())
        for _ in progress_of(filled, f"check {config.name}", len(shards), "shards"):
            pass
        notes = {shard.name: again.note(shard.name) for shard in shards}
    sealed = data.manifest.files
    return [name for name, note in notes.items() if note is None or note.digest != sealed.get(name)]


def place_of(config: PrepareConfig, root: Path, state: FileState) -> Path:
    """Return the path of a checked file."""
    data = Dataset(config, root)
    return (data.shards_folder if state.file.endswith(".arrow") else data.folder) / state.file


def _check(
    folder: Path, shards: Path, files: dict[str, str], classes: list[str], name: str
) -> FileState:
    path = (shards if name.endswith(".arrow") else folder) / name
    if not path.is_file():
        return FileState(name, "is missing")
    if path.suffix != ".arrow":
        return FileState(name, "" if disk.sha256(path) == files[name] else "has other bytes")
    try:
        digest, count, damaged = check_shard(path, classes)
    except InputError as error:
        return FileState(name, str(error).partition(": ")[2])
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        return FileState(
            name, f"the bytes of {', '.join(damaged[:3])}{more} are not those that were prepared"
        )
    return FileState(
        name,
        "" if digest == files[name] else "has other rows (names, labels, sizes or digests)",
        count,
    )
