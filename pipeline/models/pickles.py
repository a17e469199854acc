"""Read files that torch saved, without running what they say.

A checkpoint holds more than weights: options, paths, metrics. Their classes are known
here by name, and become values that do nothing. Any other class is refused by name.
"""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import InputError


class Inert:
    """Stands for a value that is no weight: it takes whatever a pickle says of it."""

    def __new__(cls, *given: object, **named: object) -> "Inert":
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *given: object, **named: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Take an item of a list."""

    def extend(self, values: object) -> None:
        """Take items of a list."""


# what timm, torchvision, accelerate, transformers and Lightning store beside weights
HARMLESS = (
    "argparse.Namespace",
    "pathlib.*Path",  # PosixPath, PureWindowsPath ...
    "pathlib._local.*Path",  # Python 3.13
    "collections.defaultdict",
    "collections.Counter",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Decimal",
    "uuid.UUID",
    "types.SimpleNamespace",
    "__builtin__.dict",  # of files of the old form
    "__builtin__.list",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.set",
    "builtins.str",
    "builtins.tuple",
    "_codecs.encode",  # in numpy's pickles
    "numpy.dtype",
    "numpy.dtypes.*DType",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.float64",
    "numpy.float32",
    "numpy.int64",
    "torch.torch_version.TorchVersion",
    "typing.Any",
    "omegaconf.*",
    "lightning.*.AttributeDict",
    "lightning_fabric.*.AttributeDict",
    "pytorch_lightning.*.AttributeDict",
    "pytorch_lightning.callbacks.*",
    "lightning.pytorch.callbacks.*",
    "timm.utils.*.AverageMeter",
    "transformers.training_args.*",
    "transformers.trainer_utils.*",
    "accelerate.utils.dataclasses.*",
)
GLOBAL = re.compile(r"(?:GLOBAL|class|global|function) [`']?([A-Za-z_][\w.]*\.[\w.]+)")


def read_pickle(path: Path) -> Any:
    """Return the content of a file that torch saved.

    Raises:
        InputError: it is no such file, or holds an object that is not known to be
            harmless; the message names its class.
    """
    inert: list[str] = []
    while True:
        try:
            with torch.serialization.safe_globals([(_stand_in(n), n) for n in inert]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            names = [name for name in _names(path, error) if name not in inert]
            if not names:
                raise _unreadable(path) from None
            for name in names:
                if not any(fnmatchcase(name, pattern) for pattern in HARMLESS):
                    raise InputError(
                        f"{path}: holds an object of {name}, which is not known to be harmless;"
                        " expected a file of weights alone: torch.save(model.state_dict(), FILE),"
                        " or .safetensors"
                    ) from None
                inert.append(name)
        except Exception:  # torch's own message advises to run the pickle's code
            raise _unreadable(path) from None


def _stand_in(name: str) -> Callable[..., object]:
    """Return what stands for a class: torch sets the items of its own dictionaries
    only.
    """
    if name.endswith(".AttributeDict"):
        return OrderedDict
    return _empty if name == "collections.defaultdict" else Inert


def _empty(*given: object) -> dict[object, object]:
    return {}


def _names(path: Path, error: Exception) -> Iterator[str]:
    """Yield the classes that a file needs and torch does not know."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a file of the old form: torch names one at a time
        yield from GLOBAL.findall(str(error))


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"{path}: cannot be read as a PyTorch state dict; expected a zip or pickle of tensors only"
    )
