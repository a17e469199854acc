"""What a data set is made from: the config of the prepare stage."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.configs.base import Frozen, StageConfig

NAME = r"^[A-Za-z0-9._-]{1,64}$"
TRAIN, VAL, DEVKIT = (
    "ILSVRC2012_img_train.tar",
    "ILSVRC2012_img_val.tar",
    "ILSVRC2012_devkit_t12.tar.gz",
)
# paper, section 7, where the first is "about 1.2 million"
ILSVRC2012_IMAGES = {"train": 1_281_167, "val": 50_000}
SourceKind = Literal["digits", "imagefolder", "labelled_folder", "ilsvrc2012", "hub", "datasets"]


class ReencodeConfig(Frozen):
    """`ours`: training images whose shorter side is longer than this are stored
    smaller, as JPEGs: faster to read and decode, and other pixels than the paper's.
    Validation images always stay as they are.
    """

    shorter_side: int = Field(default=352, ge=32)  # as large as the largest of the paper's scales
    quality: int = Field(default=90, ge=50, le=100)


class PrepareConfig(StageConfig):
    """Images and labels, as shards. `path` is where the source lies on this machine;
    `name` says what it holds.

    `ilsvrc2012` is the folder of the three archives, `datasets` a folder that Hugging
    Face `datasets` saved or one of parquet files, `hub` a data set's name there, pinned
    to a `revision`. `shard_mib` is the size of a shard, in MiB of images.
    """

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
    source: SourceKind
    name: str = Field(pattern=NAME)
    path: Path | None = None
    # of a labelled_folder, in the order of the classifier's outputs
    classes: tuple[str, ...] | None = None
    # ilsvrc2012: these are other archives than the originals; every image is decoded
    trust_archives: bool = False
    only_val: bool = False  # leave the training images out
    hub: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$")
    hub_config: str | None = Field(default=None, pattern=NAME)
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    train_split: str = Field(default="train", pattern=NAME)  # what hub and datasets call them
    val_split: str = Field(default="validation", pattern=NAME)
    reencode: ReencodeConfig | None = None
    # ours: few inodes, and small enough to copy or to make again
    shard_mib: int = Field(default=256, ge=1, le=65_536)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it has."""
        return ("val",) if self.only_val else ("train", "val")

    @model_validator(mode="after")
    def _suits_its_source(self) -> "PrepareConfig":
        tables = ("hub", "datasets")
        suits: dict[str, tuple[str, ...]] = {
            "path": ("imagefolder", "labelled_folder", "ilsvrc2012", "datasets"),
            "classes": ("labelled_folder",),
            "trust_archives": ("ilsvrc2012",),
            "only_val": ("ilsvrc2012", *tables),
            "hub": ("hub",),
            "hub_config": ("hub",),
            "revision": ("hub",),
            "train_split": tables,
            "val_split": tables,
            "reencode": ("imagefolder", "ilsvrc2012", *tables),
        }
        for field, kinds in suits.items():
            if (
                self.source not in kinds
                and getattr(self, field) != type(self).model_fields[field].default
            ):
                raise ValueError(
                    f"{field} is for source {' or '.join(kinds)}, not for {self.source}"
                )
        if self.only_val and self.reencode:
            raise ValueError("reencode is for training images, which only_val leaves out")
        if self.source == "hub" and (self.hub is None or self.revision is None):
            raise ValueError(
                "source hub needs hub (a name) and revision (the 40 hex digits of a commit there)"
            )
        return self
