"""Imports go one way: paper and study at the ground, artefacts and adapters above, then stages, slurm, the commands."""

import ast
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
FLOORS = [
    {"pipeline.errors"},
    {
        "pipeline.paper",
        "pipeline.statistics",
        "pipeline.configs.study",
        "pipeline.configs.base",
        "pipeline.configs.options",
        "pipeline.configs.prepare",
        "pipeline.configs.train",
        "pipeline.configs.recipes",
    },
    {"pipeline.artefacts", "pipeline.adapters", "pipeline.configs.experiment"},
    {"pipeline.stages", "pipeline.benchmarks", "pipeline.tools.external", "pipeline.commands.local"},
    {"slurm"},
    {"pipeline.commands", "pipeline.__main__"},
]
WITH_SUBMITIT = ("slurm.launch", "slurm.job", "slurm.probe")
SOURCES = sorted(path for room in ("pipeline", "slurm", "experiments") for path in (TOP / room).rglob("*.py"))


def room(module: str) -> str:
    """The part of a dotted name that a floor is made of."""
    return ".".join(module.split(".")[: 2 if module.startswith("pipeline") else 1])


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(TOP).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    module = ".".join(path.relative_to(TOP).with_suffix("").parts)
    if module == "pipeline.__init__":
        return
    for name in imported(path):
        if name.split(".")[0] not in ("pipeline", "slurm", "experiments"):
            assert not name.startswith("submitit") or module in WITH_SUBMITIT, f"{module} imports submitit"
        elif module.startswith("experiments"):
            assert room(name) in ("pipeline.configs.study", "pipeline.configs.recipes"), f"{module} imports {name}"
        elif module.startswith("pipeline.paper"):
            assert room(name) == "pipeline.paper", f"{module} imports {name}; paper imports no other room"
        else:
            assert floor(name) <= floor(module), f"{module} imports {name}, which is a floor above"


def test_no_file_is_longer_than_one_sitting() -> None:
    assert {path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 250} == {}
