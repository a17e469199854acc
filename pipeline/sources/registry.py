"""The sources by name: the one table that a new source is added to."""

from pathlib import Path

from pipeline.artefacts import sealing
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.sources.base import Source


def open_source(config: PrepareConfig) -> Source:
    """The source that a config names.

    Raises:
        InputError: the path is missing or is not what the source needs.
    """
    if config.source == "digits":
        from pipeline.sources.digits import digits

        return digits()
    if config.source in ("imagefolder", "labelled_folder"):
        from pipeline.sources import folders

        return getattr(folders, config.source)(config)  # type: ignore[no-any-return]
    if config.source == "ilsvrc2012":
        from pipeline.sources.ilsvrc import ilsvrc2012

        return ilsvrc2012(config)
    from pipeline.sources.huggingface import rows

    return rows(config)


def refuse_other_files(config: PrepareConfig, root: Path) -> None:
    """Raise InputError if a path is given whose files are not those that the finished
    data set was made from.
    """
    if config.path is None:
        return
    if open_source(config).fingerprint != sealing.DATASET.unseal(config, root).source_fingerprint:
        raise InputError(
            f"{config.path}: holds other files than those {root / config.folder} was made from;"
            " choose another --root"
        )
