"""Imports go one way, file by file and room by room, without a circle; also those
inside functions.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCES = sorted(
    path for room in ("pipeline", "slurm", "experiments") for path in (TOP / room).rglob("*.py")
)
ALONE = {  # rooms that know nothing but themselves and these
    "pipeline.errors": set[str](),
    "pipeline.paper": set[str](),
    "pipeline.statistics": set[str](),
    "pipeline.repeated": set[str](),
    "pipeline.configs": {"pipeline.paper", "pipeline.errors", "pipeline.repeated"},
    "pipeline.runtime": {"pipeline.errors"},
    "experiments": {"pipeline.configs"},
}
WITH_SUBMITIT = ("slurm.executor", "slurm.sbatch", "slurm.job", "slurm.errand", "slurm.start")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def room(module: str) -> str:
    return ".".join(module.split(".")[: 2 if module.startswith("pipeline") else 1])


def names_in(path: Path) -> set[str]:
    """Return every name that a file imports, dotted."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported(module: str) -> set[str]:
    """Return the files of ours that a file imports: of `from a.b import c`, a/b/c.py if
    it is there, else a/b.py.
    """
    files = set()
    for name in names_in(MODULES[module]):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        files.add(name)
    return files - {"", module}


GRAPH = {module: imported(module) for module in MODULES}


def test_the_usual_pixels_are_a_default_only() -> None:
    """Whatever trains, evaluates or exports asks the run."""
    users = {
        module
        for module, path in MODULES.items()
        if any(name.endswith(".preprocessing.PREPROCESSING") for name in names_in(path))
    }
    assert users == {
        "pipeline.configs.network",
        "pipeline.models.usual",  # of weights that do not say
        "pipeline.models.timm_entry",  # of a network without weights
        "pipeline.benchmarks.contenders",
        "pipeline.benchmarks.peers",
    }


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return one circle of a graph, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_files_import_each_other_in_no_circle() -> None:
    assert circle(GRAPH) == []


def test_rooms_import_each_other_in_no_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for module, others in GRAPH.items():
        if module != "pipeline":  # what `import pipeline` does
            rooms.setdefault(room(module), set()).update(
                room(other) for other in others if room(other) != room(module)
            )
    assert circle(rooms) == []


@pytest.mark.parametrize("name", ALONE)
def test_the_ground_floor_knows_little(name: str) -> None:
    """Paper and statistics are pure; a study's configs need no artefact; processes need
    no stage.
    """
    for module, others in GRAPH.items():
        if room(module) == name:
            assert {room(other) for other in others} <= ALONE[name] | {name}, module


def test_submitit_is_the_launchers_alone() -> None:
    users = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == "submitit" for name in names_in(path))
    }
    assert users <= set(WITH_SUBMITIT)


def test_no_file_is_longer_than_one_sitting() -> None:
    tests = (TOP / "tests").rglob("*.py")
    for most, paths in ((250, SOURCES), (340, tests)):
        lines = {str(path): len(path.read_text().splitlines()) for path in paths}
        assert {path: n for path, n in lines.items() if n > most} == {}
