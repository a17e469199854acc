"""What an experiment file imports from its own folder."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OURS = Path(__file__).resolve().parents[1]


@contextmanager
def imports_beside(path: Path) -> Iterator[None]:
    """Let an experiment import Python files that lie beside it.

    Later experiments import such files anew, as other folders may have files of the
    same names.
    """
    folder, before = str(path.resolve().parent), (list(sys.path), sys.dont_write_bytecode)
    known = set(sys.modules)
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True  # a cache takes a file of the same second for the old one
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before
        for name in set(sys.modules) - known:
            if _lies_in(getattr(sys.modules[name], "__file__", None), folder):
                del sys.modules[name]


def _lies_in(file: object, folder: str) -> bool:
    """Return whether a module's file is one of a folder, and none of an environment or
    of ours below it.
    """
    path = Path(str(file))
    is_below = file is not None and path.is_relative_to(folder)
    return is_below and "site-packages" not in path.parts and not path.is_relative_to(OURS)
