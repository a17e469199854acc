"""ILSVRC-2014's list of validation images that do not count."""

import hashlib
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from pipeline.configs.base import Frozen
from pipeline.configs.other_network import SHA256
from pipeline.configs.prepare import ILSVRC2012_IMAGES
from pipeline.errors import InputError
from pipeline.paper.family import BLACKLISTED

EXPECTED = (
    f"ILSVRC2014_clsloc_validation_blacklist.txt of ILSVRC-2014's devkit: {BLACKLISTED} different"
    f" numbers from 1 to {ILSVRC2012_IMAGES['val']}, one a line"
)


class Blacklist(Frozen):
    """The file of the list; `of` makes one."""

    resources: ClassVar[frozenset[str]] = frozenset({"path"})
    path: Path
    """Where the file lies on this machine."""
    sha256: str = Field(pattern=SHA256)
    """Digest of that file."""

    @classmethod
    def of(cls, path: Path) -> "Blacklist":
        """Return the config of a file.

        Raises:
            InputError: the file cannot be read, or is not that list.
        """
        content = _read(path)
        _numbers(content, path)
        return cls(path=path.absolute(), sha256=hashlib.sha256(content).hexdigest())

    def numbers(self) -> frozenset[int]:
        """Return the numbers of the images, from 1 on.

        Raises:
            InputError: the file cannot be read, or is not the one of the config.
        """
        content = _read(self.path)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise InputError(
                f"{self.path}: is no longer the list that the study was planned with; run the"
                " command again"
            )
        return _numbers(content, self.path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected {EXPECTED}") from None


def _numbers(content: bytes, path: Path) -> frozenset[int]:
    lines = content.split()
    numbers = frozenset(int(line) for line in lines if line.isdigit())
    last = ILSVRC2012_IMAGES["val"]
    if not len(numbers) == len(lines) == BLACKLISTED or min(numbers) < 1 or max(numbers) > last:
        raise InputError(
            f"{path}: has {len(lines)} words, {len(numbers)} of them different numbers; expected"
            f" {EXPECTED}"
        )
    return numbers
