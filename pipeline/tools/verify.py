"""Check that artefacts are still what was sealed: every byte of every file."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from pipeline.artefacts import sealing
from pipeline.artefacts.digests import compare, remedy_of
from pipeline.artefacts.soundness import PUBLISHED, damages
from pipeline.configs.base import StageConfig
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import STUDY_FILE, Study, study_in
from pipeline.errors import InputError
from pipeline.tools import verify_data


class Checked(NamedTuple):
    """An artefact that was checked, with a line for each problem."""

    folder: Path
    problems: list[str]


def verify(root: Path, study: Study | None = None) -> Iterator[Checked]:
    """Check the complete artefacts of a study, or all below a root.

    Every file is compared with its digest, every input with the digest that it had, and
    every image of a data set with its own. A published root has the small files only.
    """
    for path in _last_files(root, study):
        try:
            config = _config_of(path)
            if root / config.folder != path.parent:
                problems = [f"{path.parent}: has another name than {config.folder}, as it was made"]
            else:
                problems = _problems(config, root)
        except InputError as error:
            problems = [str(error)]
        yield Checked(path.parent, problems)


def _last_files(root: Path, study: Study | None) -> Iterator[Path]:
    if study is not None:
        yield from (
            root / config.folder / config.last_file
            for config in study.stages
            if (root / config.folder / config.last_file).is_file()
        )
        return
    stages: list[type[StageConfig]] = [each.config for each in sealing.STAGES.values()]
    stages.append(BenchmarkConfig)
    for stage in stages:
        yield from sorted((root / stage.room).glob(f"*/{stage.last_file}"))


def _config_of(path: Path) -> StageConfig:
    """Return the config that an artefact's last file holds.

    Raises:
        InputError: the file is damaged, or of another version.
    """
    if path.name == BenchmarkConfig.last_file:
        what, sealed = sealing.read_benchmark(path)
        artefact: type[StageConfig] = sealing.BENCHMARKS[what].config
    else:
        stage = next(each for each in sealing.STAGES.values() if each.config.last_file == path.name)
        artefact, sealed = stage.config, stage.load(path)
    try:
        config: StageConfig = artefact.model_validate(sealed.config)
    except ValidationError:
        for name, digest in (sealed.files | sealed.timed).items():
            compare(path.parent / name, digest, f"remove {path.parent}")
        raise InputError(
            f"{path}: is of another version of going-deeper; its files are what was sealed, and its"
            " inputs cannot be told"
        ) from None
    return config


def _problems(config: StageConfig, root: Path) -> list[str]:
    if isinstance(config, BenchmarkConfig):
        return []  # it has no other file, and its own digest was compared
    if problems := damages(config, root):
        return problems
    try:
        sealing.unseal(config, root)
        if isinstance(config, Study) and (root / config.folder / STUDY_FILE).is_file():
            study_in(root / config.folder)
    except InputError as error:
        return [str(error)]
    if isinstance(config, PrepareConfig) and not (root / PUBLISHED).is_file():
        return [
            f"{verify_data.place_of(config, root, state)}: {state.problem};"
            f" {remedy_of(config, root)}"
            for state in verify_data.verify(config, root)
        ]
    return []
