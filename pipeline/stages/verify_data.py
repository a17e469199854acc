"""Whether a data set is still what was prepared: every byte of every image, every row, every list."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from pipeline.adapters.environment import cores_per_rank
from pipeline.adapters.pool import share
from pipeline.adapters.progress import progress_of
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.shards import check_shard
from pipeline.stages.prepare import prepare, refuse_other_files
from pipeline.study import InputError, PrepareConfig


class Found(NamedTuple):
    """What is wrong with a file of a data set; nothing, if `problem` is empty."""

    file: str
    problem: str = ""


def data_sets(root: Path) -> list[Path]:
    """The folders of all complete data sets under a root."""
    return sorted(path.parent for path in (root / PrepareConfig.room).glob(f"*/{PrepareConfig.last_file}"))


def config_of(folder: Path) -> PrepareConfig:
    """The config that a data set was prepared with.

    Raises:
        InputError: the folder holds no data set, a damaged one, or one of another version.
    """
    path = folder / PrepareConfig.last_file
    try:
        return PrepareConfig.model_validate(json.loads(path.read_text())["config"])
    except OSError:
        raise InputError(f"{folder}: is no prepared data set; expected a folder such as outputs/datasets/<hash>") from None
    except ValidationError:
        raise InputError(f"{path}: is of another version of going-deeper; prepare the data set anew") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; remove it and prepare the data set again: whole shards are kept") from None


def verify(config: PrepareConfig, root: Path, processes: int | None = None) -> list[Found]:
    """Check every digest; returns what is wrong."""
    data = Dataset(config, root)
    files = data.manifest["files"]
    check = partial(_check, data.folder, files, data.classes)
    results = share(check, sorted(files), processes or cores_per_rank())
    return [found for found in progress_of(results, f"verify {config.name}", len(files), "files") if found.problem]


def repair(config: PrepareConfig, root: Path, damaged: list[Found], processes: int | None = None) -> None:
    """Make the damaged files again, from the source; the others stay as they are.

    Raises:
        InputError: the source is no longer there, or is another.
    """
    refuse_other_files(config, root)
    folder = root / config.folder
    for found in damaged:
        (folder / found.file).unlink(missing_ok=True)
    (folder / config.last_file).unlink()
    prepare(config, root, processes)


def _check(folder: Path, files: dict[str, str], classes: list[str], name: str) -> Found:
    path = folder / name
    if not path.is_file():
        return Found(name, "is missing")
    if path.suffix != ".arrow":
        return Found(name, "" if storage.sha256(path) == files[name] else "has other bytes")
    try:
        digest, damaged = check_shard(path, classes)
    except InputError as error:
        return Found(name, str(error).partition(": ")[2])
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        return Found(name, f"the bytes of {', '.join(damaged[:3])}{more} are not those that were prepared")
    return Found(name, "" if digest == files[name] else "has other rows (names, labels, sizes or digests)")
