"""What a data set is made from: the configs of the prepare stage, one for each kind of
source.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from pipeline.configs.base import StageConfig
from pipeline.configs.fields_of_sources import is_of_others
from pipeline.configs.reencode import ReencodeConfig

NAME = r"^[A-Za-z0-9._-]{1,64}$"
INSIDE = r"^[^\x00-\x1f]{1,1024}$"  # a path below, or beside, the source's folder
TRAIN, VAL, DEVKIT = (
    "ILSVRC2012_img_train.tar",
    "ILSVRC2012_img_val.tar",
    "ILSVRC2012_devkit_t12.tar.gz",
)
# paper, section 7; it says "about 1.2 million" of the training images
ILSVRC2012_IMAGES = {"train": 1_281_167, "val": 50_000}


def name_of(path: Path | None, name: str | None, usual: str) -> str:
    """Return what a data set is called: `name`, or else as its folder is, or as usual.

    >>> name_of(Path("/photographs/my birds"), None, "caltech101")
    'my-birds'
    """
    if name is not None or path is None:
        return usual if name is None else name
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.absolute().name)[:64] or usual


class PrepareConfig(StageConfig):
    """A data set: images and labels, as shards.

    `name` says what the source holds; `shard_mib` is the size of a shard in MiB of
    images.

    Each source has a class of its own below, with the fields that suit it:
    `PrepareConfig(source="digits", name="digits")` is a `DigitsConfig`.
    """

    # a TrainConfig writes its data with the fields of the source's class
    model_config = ConfigDict(polymorphic_serialization=True)
    stage: ClassVar[str] = "prepare"
    room: ClassVar[str] = "datasets"
    last_file: ClassVar[str] = "manifest.json"
    has_parts: ClassVar[bool] = True
    has_job: ClassVar[bool] = True
    artifact_type: ClassVar[str] = "dataset"
    resources: ClassVar[frozenset[str]] = frozenset({"path", "shard_mib"})
    # 2: an unreadable validation image keeps its slot; 3: wnid column, animated images
    # rejected
    version: Literal[3] = 3
    source: str
    """Where the images come from."""
    name: str = Field(pattern=NAME)
    """What the data set is called."""
    # ours: few inodes, and small enough to copy or to make again
    shard_mib: int = Field(default=256, ge=1, le=65_536)
    """Size of a shard, in MiB."""

    if TYPE_CHECKING:  # only `source` says which fields there are

        def __init__(self, **fields: Any) -> None: ...

    else:

        def __new__(cls, **fields: Any) -> Self:
            """An empty object of the source's class, whose `__init__` validates."""
            source = str(fields.get("source"))
            return super().__new__(SOURCES.get(source, cls) if cls is PrepareConfig else cls)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data set."""
        return ("train", "val")

    @model_validator(mode="wrap")
    @classmethod
    def _is_of_its_source(cls, fields: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(fields, dict):
            return validate(fields)
        if cls is PrepareConfig:
            source = str(fields.get("source"))
            if source not in SOURCES:
                raise ValueError(f"source {source} is none of {', '.join(SOURCES)}")
            return validate(SOURCES[source].model_validate(fields))
        return validate({k: v for k, v in fields.items() if not is_of_others(cls, k, v, SOURCES)})


class FolderConfig(PrepareConfig):
    """A source that is a folder: `path` is where it lies on this machine."""

    path: Path | None = None
    """Where the folder lies on this machine."""


class PhotographsConfig(PrepareConfig):
    """A source with training images, which may be stored smaller."""

    reencode: ReencodeConfig | None = None
    """Store larger training images smaller."""


class SplitsConfig(PhotographsConfig):
    """A source whose training images may be left out."""

    only_val: bool = False
    """Leave the training images out."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data set."""
        return ("val",) if self.only_val else ("train", "val")

    @model_validator(mode="after")
    def _has_images_to_reencode(self) -> Self:
        if self.only_val and self.reencode:
            raise ValueError("reencode is for training images, which only_val leaves out")
        return self


class TablesConfig(SplitsConfig):
    """A source of tables, whose splits may have other names than `train` and `val`."""

    train_split: str = Field(default="train", pattern=NAME)
    """The source's name of the training split."""
    val_split: str = Field(default="validation", pattern=NAME)
    """The source's name of the validation split."""
    label_column: str | None = Field(default=None, min_length=1, max_length=256)
    """The column of labels, where several could be meant."""
    classes: tuple[str, ...] | None = None
    """Names of the numbers 0, 1 ..., or the order of names, where no metadata says."""


class DigitsConfig(PrepareConfig):
    """scikit-learn's scanned digits, which need no file."""

    source: Literal["digits"] = "digits"


class ImageFolderConfig(FolderConfig, PhotographsConfig):
    """A folder with train/<class>/ and val/<class>/, or with all validation images in
    one folder and a list of their classes. Paths are relative to `path`.
    """

    source: Literal["imagefolder"] = "imagefolder"
    train_folder: str = Field(default="train", pattern=INSIDE)
    """Where the class folders of the training images lie."""
    val_folder: str = Field(default="val", pattern=INSIDE)
    """Where those of the validation images lie, or these images themselves."""
    val_labels: str | None = Field(default=None, pattern=INSIDE)
    """The list of their classes, where they lie in no class folders."""


class LabelledFolderConfig(FolderConfig):
    """Images to evaluate on; `classes` are in the order of the classifier's outputs."""

    source: Literal["labelled_folder"] = "labelled_folder"
    classes: tuple[str, ...] | None = None
    """Names of the classes, in the order of the outputs."""


class ILSVRC2012Config(FolderConfig, SplitsConfig):
    """The folder of the three archives of ILSVRC-2012.

    With `trust_archives` they need not be the originals; every image is then decoded.
    """

    source: Literal["ilsvrc2012"] = "ilsvrc2012"
    trust_archives: bool = False
    """The archives need not be the originals."""


class HubConfig(TablesConfig):
    """A data set of the Hugging Face Hub, by its name there, at a commit."""

    source: Literal["hub"] = "hub"
    hub: str = Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$")
    """The data set's name on the Hub."""
    hub_config: str | None = Field(default=None, pattern=NAME)
    """Which of its configurations."""
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    """The commit there, 40 hex digits."""

    @model_validator(mode="before")
    @classmethod
    def _is_pinned(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and None in (fields.get("hub"), fields.get("revision")):
            raise ValueError(
                "source hub needs hub (a name) and revision (the 40 hex digits of a commit there)"
            )
        return fields


class DatasetsConfig(FolderConfig, TablesConfig):
    """A folder that Hugging Face `datasets` saved, or one of parquet files."""

    source: Literal["datasets"] = "datasets"


class UnsplitFolderConfig(FolderConfig):
    """A folder of <class>/; the files with the lowest SHA-256 are for validation."""

    source: Literal["unsplit_folder"] = "unsplit_folder"
    val_percent: int = Field(default=20, ge=1, le=50)  # ours: a usual share
    """Share of each class that is for validation, in per cent."""


class WebDatasetConfig(FolderConfig, SplitsConfig):
    """A folder of WebDataset's tar files, whose names or folders tell their splits."""

    source: Literal["webdataset"] = "webdataset"
    classes: tuple[str, ...] | None = None
    """Names of the labels 0, 1 ..., where the images' keys do not tell wnids."""


class ListedConfig(FolderConfig, PhotographsConfig):
    """Images that tables list, with the class of each; paths are relative to `path`."""

    source: Literal["listed"] = "listed"
    train_list: str = Field(pattern=INSIDE)
    """The table of training images, or of all images with a column of splits."""
    val_list: str | None = Field(default=None, pattern=INSIDE)
    """The table of validation images, where they have their own."""
    classes: tuple[str, ...] | None = None
    """Names of the numbers 0, 1 ..., or the order of names."""


SOURCES: dict[str, type[PrepareConfig]] = {
    source.model_fields["source"].default: source
    for source in (
        DigitsConfig,
        ImageFolderConfig,
        LabelledFolderConfig,
        ILSVRC2012Config,
        HubConfig,
        DatasetsConfig,
        UnsplitFolderConfig,
        WebDatasetConfig,
        ListedConfig,
    )
}
