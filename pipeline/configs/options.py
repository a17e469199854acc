"""Kinds of options that experiments share: a type, and the help of a command."""

from pathlib import Path
from typing import Annotated

from pipeline.configs.base import MOST_MEMBERS

Data = Annotated[Path | None, "Where the images lie: a folder, or that of the archives."]
DataName = Annotated[str | None, "What the images are called.  [default: as their folder]"]
Members = Annotated[
    int, range(1, MOST_MEMBERS + 1), "Trainings of an ensemble; they differ in sampling and order."
]
Seeds = Annotated[int, range(1, MOST_MEMBERS + 1), "Trainings of each arm."]
Epochs = Annotated[float, "Length of a training, in passes over its images."]
