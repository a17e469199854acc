"""The README's map of the code is true."""

import ast
import re

from tests.commands import TOP

README = (TOP / "README.md").read_text()


def test_every_room_is_in_the_table() -> None:
    table = set(
        re.findall(
            r"`(pipeline/\w+|experiments|slurm)`", README[README.index("| folder | what |") :]
        )
    )
    rooms = {f"pipeline/{path.parent.name}" for path in (TOP / "pipeline").glob("*/__init__.py")}
    assert table >= rooms | {"experiments", "slurm"}


def test_an_images_way_names_functions_that_are_there() -> None:
    steps = re.findall(r"^(\w+/\w+\.py) +([\w.]+)  ", README, re.MULTILINE)
    assert len(steps) == 10
    for file, name in steps:
        body: list[ast.stmt] = ast.parse((TOP / "pipeline" / file).read_text()).body
        for part in name.split("."):
            defined = {
                node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)
            }
            assert part in defined, f"{file}: {name}"
            body = defined[part].body
