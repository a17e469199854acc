"""The source that is a data set of the Hugging Face Hub."""

from pathlib import Path

import datasets

from pipeline.configs.prepare import HubConfig
from pipeline.errors import InputError
from pipeline.sources.base import Source
from pipeline.sources.huggingface import Splits, loading, table_source
from pipeline.sources.ilsvrc import judge


def hub(config: HubConfig) -> Source:
    """A revision of a data set. It is what it is, wherever and whenever it was cached:
    so its `state` says nothing.

    Raises:
        InputError: it cannot be loaded, or has no such split or columns.
    """
    where = f"hub:{config.hub}"
    with loading(where):
        found = datasets.load_dataset(config.hub, config.hub_config, revision=config.revision)
        _refuse_another_revision(found, config, where)
        source = table_source(config, dict(found), where, config.revision)
    return source._replace(judge=judge if config.hub.endswith("/imagenet-1k") else None)


def _refuse_another_revision(found: Splits, config: HubConfig, where: str) -> None:
    """Refuse another revision than the config names: offline, `datasets` takes whatever
    its cache got last.
    """
    for split in found.values():
        for file in split.cache_files:
            if config.revision not in Path(file["filename"]).parts:
                message = (
                    f"`datasets` gave {file['filename']} in place of revision {config.revision}"
                )
                raise InputError(
                    f"{where}: {message}; go online, or clear its cache of other revisions"
                )
