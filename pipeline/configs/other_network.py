"""A network other than GoogLeNet, to be trained."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from pipeline.configs.base import Frozen
from pipeline.errors import InputError

SHA256 = r"^[0-9a-f]{64}$"
MOST_PIXELS = 4200  # ours: the longest side of an input; a larger one would fill the memory
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _in_order(arguments: object) -> object:
    """Return arguments, which may be a dictionary, as pairs in the order of names."""
    return tuple(sorted(arguments.items())) if isinstance(arguments, Mapping) else arguments


# of a library's function, by name; of types that a file of settings has
Arguments = Annotated[tuple[tuple[Name, bool | int | float | str], ...], BeforeValidator(_in_order)]


class OtherNetwork(Frozen):
    """A network that timm, torchvision or a file of the user's makes.

    `of` makes one from the name of a library's network or from FILE.py:FUNCTION.
    """

    resources: ClassVar[frozenset[str]] = frozenset({"code"})
    arch: str = Field(pattern=r"^(torchvision|timm|python):[A-Za-z0-9._-]{1,64}$")
    """timm:NAME, torchvision:NAME or python:FUNCTION."""
    input_size: int = Field(default=224, ge=32, le=MOST_PIXELS)
    """Side of the input, in pixels."""
    arguments: Arguments = ()
    """What its function takes beside the number of classes, by name."""
    heads: tuple[Name, ...] = ()
    """Names for what it returns in training behind its main output, in that order."""
    code: Path | None = None
    """The Python file that defines FUNCTION."""
    code_sha256: str | None = Field(default=None, pattern=SHA256)
    """Digest of that file."""

    @classmethod
    def of(
        cls,
        arch: str,
        input_size: int = 224,
        heads: tuple[str, ...] = (),
        **arguments: bool | int | float | str,
    ) -> "OtherNetwork":
        """Return the config of timm:NAME, torchvision:NAME or FILE.py:FUNCTION.

        >>> v3 = OtherNetwork.of("timm:inception_v3", 299, ("aux",), aux_logits=True)
        >>> v3.arguments
        (('aux_logits', True),)

        Raises:
            InputError: there is no such file.
        """
        file, _, function = arch.rpartition(":")
        code, code_sha256 = None, None
        if file.endswith(".py"):
            arch, code = f"python:{function}", Path(file).absolute()
            if not code.is_file():
                raise InputError(f"{file}: no such Python file; expected FILE.py:FUNCTION")
            code_sha256 = hashlib.sha256(code.read_bytes()).hexdigest()
        return cls(
            arch=arch,
            input_size=input_size,
            heads=heads,
            arguments=tuple(sorted(arguments.items())),
            code=code,
            code_sha256=code_sha256,
        )

    @model_validator(mode="after")
    def _has_its_code(self) -> "OtherNetwork":
        is_python = self.arch.startswith("python:")
        if is_python != (self.code_sha256 is not None) or (self.code and not is_python):
            raise ValueError(
                f"arch {self.arch} with code {self.code}, code_sha256 {self.code_sha256}; expected"
                " them for python:FUNCTION alone (OtherNetwork.of fills them in)"
            )
        return self
