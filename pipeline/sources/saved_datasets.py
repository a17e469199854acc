"""The source that is a folder that Hugging Face `datasets` saved, or one of parquet
files.
"""

from pathlib import Path

import datasets

from pipeline.configs.prepare import DatasetsConfig
from pipeline.errors import InputError
from pipeline.sources.base import Source
from pipeline.sources.huggingface import loading, table_source


def saved_datasets(config: DatasetsConfig) -> Source:
    """The rows of the folder. `state` holds the times at which its files were written.

    Raises:
        InputError: it cannot be loaded, or has no such split or columns.
    """
    if config.path is None or not config.path.is_dir():
        raise InputError(
            f"{config.path}: no such folder; expected one that datasets saved, or one of parquet"
            " files"
        )
    names = (config.train_split, config.val_split)
    with loading(str(config.path)):
        if (config.path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(config.path))
            files = [file["filename"] for split in found.values() for file in split.cache_files]
        elif (config.path / "state.json").is_file():
            single = datasets.load_from_disk(str(config.path))
            found = {(str(single.split) if single.split else names[1]): single}
            files = [file["filename"] for file in single.cache_files]
        elif parquet := _parquet_files(config.path, names):
            found = datasets.load_dataset("parquet", data_files=parquet)
            files = [file for some in parquet.values() for file in some]
        else:
            raise InputError(
                f"{config.path}: has neither dataset_dict.json nor {names[0]}-*.parquet and"
                f" {names[1]}-*.parquet, there or below data/"
            )
        source = table_source(config, dict(found), str(config.path))
    return source._replace(state=repr([Path(file).stat().st_mtime_ns for file in files]))


def _parquet_files(path: Path, splits: tuple[str, ...]) -> dict[str, list[str]]:
    found = {
        split: [
            str(file)
            for folder in (path, path / "data")
            for file in sorted(folder.glob(f"{split}[-.]*parquet"))
        ]
        for split in splits
    }
    return {split: files for split, files in found.items() if files}
