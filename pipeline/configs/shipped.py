"""The experiments that ship, by name; they lie beside our packages, also in a wheel."""

import ast
from pathlib import Path

from pipeline.errors import InputError, did_you_mean

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


def names() -> list[str]:
    """Return the names of the experiments that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def experiment_file(path: Path) -> Path:
    """Return the file of an experiment: a path, or the name of one that ships.

    A file that exists wins over a name.

    Raises:
        InputError: there is no such file and no such name.
    """
    if path.is_file():
        return path
    if str(path) in names():
        return FOLDER / f"{path}.py"
    hint = did_you_mean(path.stem, names()) or (
        "; going-deeper experiments lists those that ship, going-deeper index the studies of a root"
    )
    raise InputError(f"{path}: no such Python file or experiment{hint}")


def description(path: Path) -> str:
    """Return the docstring of an experiment file, which does not run; or nothing."""
    try:
        return ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def summary(path: Path) -> str:
    """Return the first paragraph of an experiment's docstring as one line."""
    return " ".join(description(path).partition("\n\n")[0].split())
