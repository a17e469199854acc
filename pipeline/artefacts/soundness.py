"""Whether an artefact is still what was sealed, and what becomes of one that is not."""

import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.artefacts import sealing
from pipeline.artefacts.digests import compare, remedy_of
from pipeline.configs.base import StageConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime import disk

SET_ASIDE = "damaged"  # the folder of a root that holds what was set aside
# marks a root that `going-deeper publish` made: it holds the small files of studies
PUBLISHED = "published.txt"


def damages(config: StageConfig, root: Path, names: Collection[str] | None = None) -> list[str]:
    """Return a line for each file of a complete artefact that is not what was sealed.

    By default all files are compared but shards, whose images take long
    (`going-deeper data verify`); of a published artefact its small files. `names`
    chooses others. If the last file is damaged, that is the only line. Inputs are not
    looked at.
    """
    path = root / config.folder / config.last_file
    if not path.is_file():
        return [f"{path}: does not exist; run the {config.stage} stage first"]
    try:
        sealed = sealing.STAGES[config.stage].load(path)
    except InputError as error:
        return [f"{error}; {remedy_of(config, root, path.name)}"]
    digests = sealed.files | sealed.timed
    everything = config.kept if (root / PUBLISHED).is_file() else list(digests)
    return list(_damages(config, root, everything if names is None else names, digests))


def _damages(
    config: StageConfig, root: Path, names: Collection[str], digests: dict[str, str]
) -> Iterator[str]:
    for name in names:
        if not name.endswith(".arrow"):  # a shard has the digest of its rows
            try:
                compare(root / config.folder / name, digests.get(name), remedy_of(config, root))
            except InputError as error:
                yield str(error)


def set_aside_damaged(study: Study, root: Path, is_alone: bool) -> None:
    """Set aside the damaged artefacts of a study, so that they are made again.

    Small files of all stages are compared, and all files that a missing stage needs.

    Raises:
        InputError: a data set or a training is damaged: to make it again takes long, so
            the user decides; the message says how. So does it where this process is not
            alone, but one of several ranks.
    """
    missing = [config for config in study.stages if not config.is_complete(root)]
    needed = {source.hash for config in missing for source in config.inputs}
    for config in study.stages[:-1]:
        if not config.is_complete(root):
            continue
        problems = damages(config, root, None if config.hash in needed else config.kept)
        if not problems:
            continue
        if isinstance(config, PrepareConfig | TrainConfig) or not is_alone:
            raise InputError(problems[0])
        number, place = 1, root / SET_ASIDE / config.folder
        while (target := place.with_name(f"{place.name}-{number}")).exists():
            number += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        disk.rename(root / config.folder, target)
        print(f"{problems[0]}; it is set aside in {target}", file=sys.stderr)
