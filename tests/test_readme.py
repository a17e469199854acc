"""What README.md and docs/ say is true: commands, messages, functions, pages made from
the code.
"""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import click
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs.generate import PAGES, commands_page, experiments_page, fields
from pipeline.commands.arguments import StudyCommand
from pipeline.commands.main import COMMANDS, commands
from pipeline.configs.experiment import load_study
from slurm.site import load_site
from tests.commands import TOP, in_process

TEXTS = [path.read_text() for path in (TOP / "README.md", *sorted((TOP / "docs").rglob("*.md")))]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", "".join(TEXTS), re.MULTILINE | re.DOTALL)
ARCHITECTURE = (TOP / "docs/architecture.md").read_text()
FREE = {
    "plan",
    "audit",
    "experiments",
}  # run here, as any --help: they need nothing, and write nothing


def _commands() -> Iterator[str]:
    """Yield every command in blocks of shell lines, and those within text."""
    for text in (*TEXTS, commands_page(), experiments_page()):
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            lines = re.sub(r"(^|\s+)#.*", "", block, flags=re.MULTILINE)
            yield from re.findall(r"(?<!=)\bgoing-deeper [^&\n)>]*[^&\n)> ]", lines)
    for text in TEXTS:
        yield from re.findall(r"`(?:eval \"\$\()?(going-deeper [^`&\n)]+)", text)


ALL = sorted(set(_commands()))


def python_file(title: str) -> str:
    """Return the Python file that a page shows under a title."""
    pattern = rf'^```python title="{re.escape(title)}"\n(.*?)^```'
    (shown,) = (
        found for text in TEXTS for found in re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    )
    return str(shown)


@pytest.mark.parametrize("line", ALL, ids=str)
def test_a_command_is_one(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known, and so are its options; its experiment and its site are valid."""
    monkeypatch.chdir(TOP)
    (tmp_path / "my_ablation.py").write_text(python_file("my_ablation.py"))
    in_process("init", tmp_path / "mine")
    (tmp_path / "101_ObjectCategories.tar.gz").touch()
    (tmp_path / "inception").mkdir()
    (tmp_path / "inception/inception_v3.tf_in1k.safetensors").touch()
    own = ("my_ablation.py", "mine/site.toml", "101_ObjectCategories.tar.gz", "inception")
    words = [str(tmp_path / word) if word in own else word for word in shlex.split(line)[1:]]
    if words[0] in FREE or (words[-1] in ("--help", "--version") and "EXPERIMENT" not in words):
        root = ["--root", str(tmp_path / "root")] if words[0] == "plan" else []
        shown = in_process(*words, *root)
        assert (shown.returncode, shown.stderr) == (0, "")
    command: click.Command | None = commands
    while isinstance(command, click.Group) and not words[0].startswith("-"):
        _, command, words = command.resolve_command(click.Context(command), words)
    assert command is not None
    try:
        values = command.make_context("", words).params
    except click.exceptions.Exit:  # after --help
        return
    if isinstance(command, StudyCommand) and values["experiment"] is not None:
        load_study(values["experiment"], values["arguments"])
    if site := values.get("site"):
        load_site(site)


def test_there_are_commands_of_every_kind() -> None:
    assert {line.split()[1] for line in ALL} >= set(COMMANDS)


@pytest.mark.processes
def test_my_own_model_is_evaluated(image_folder: Path, tmp_path: Path) -> None:
    """README's recipe as it stands, on a folder, a file and weights of these names."""
    (tmp_path / "my_model.py").write_text(python_file("my_model.py"))
    torch.save(
        torch.nn.Sequential(*[torch.nn.Identity()] * 2, torch.nn.Linear(3, 3)).state_dict(),
        tmp_path / "my_weights.pt",
    )
    (line,) = (line for line in ALL if line.endswith("--weights my_weights.pt --data FOLDER"))
    places = {
        "my_model.py:build": tmp_path / "my_model.py:build",
        "FOLDER": image_folder,
        "my_weights.pt": tmp_path / "my_weights.pt",
    }
    words = [str(places.get(word, word)) for word in shlex.split(line)[1:]]
    ended = in_process(*words, "--root", tmp_path / "root", "--processes", 1)
    assert ended.returncode == 0, ended.stderr
    assert "python:build (my_weights.pt) on " in ended.stdout


@pytest.mark.parametrize("lines", EXAMPLES)
def test_python_in_a_page_runs(lines: str) -> None:
    exec(compile(lines, "a page", "exec"), {})


def test_messages_are_those_of_the_code() -> None:
    """Each message that the page on trouble quotes is in a file."""
    files = [path for room in ("pipeline", "slurm") for path in (TOP / room).rglob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in files))
    page = (TOP / "docs/troubleshooting.md").read_text()
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(quoted) > 30
    assert [message for message in quoted if message not in code] == []


def test_every_room_is_in_the_table() -> None:
    table = set(
        re.findall(
            r"`(pipeline/\w+|experiments|slurm)`",
            ARCHITECTURE[ARCHITECTURE.index("| folder | what |") :],
        )
    )
    rooms = {f"pipeline/{path.parent.name}" for path in (TOP / "pipeline").glob("*/__init__.py")}
    assert table >= rooms | {"experiments", "slurm"}


def test_an_images_way_names_functions_that_are_there() -> None:
    steps = re.findall(r"^(\w+/\w+\.py) +([\w.]+)  ", ARCHITECTURE, re.MULTILINE)
    assert len(steps) == 10
    for file, name in steps:
        body: list[ast.stmt] = ast.parse((TOP / "pipeline" / file).read_text()).body
        for part in name.split("."):
            defined = {
                node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)
            }
            assert part in defined, f"{file}: {name}"
            body = defined[part].body


def test_every_field_says_what_it_is() -> None:
    rows = [(kind.__name__, *row) for kind, of_kind in fields() for row in of_kind]
    assert [row[:2] for row in rows if not all(row)] == []
    assert {"`paper`", "`ours`", "resource"} == {
        mark for row in rows if (mark := re.split(r"[,:]", row[-1])[0]) != "a study says it"
    }


def test_the_pages_link_to_what_they_make() -> None:
    links = {
        link for text in TEXTS for link in re.findall(r"\((?:\.\./)?(reference/\w+\.md)", text)
    }
    assert links >= set(PAGES) | {"reference/sites.md"}


def test_the_lock_is_of_the_environment_behind_the_results() -> None:
    lines = (TOP / "requirements.lock").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if not line.startswith("#"))
    names = {canonicalize_name(name): version for name, version in locked.items()}
    needed = [Requirement(line) for line in requires("going-deeper") or ()]
    extras = ("dev", "dashboard", "onnx")
    for each in needed:
        is_needed = each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras)
        if is_needed and each.name != "going-deeper":  # dev names the other extras
            assert each.specifier.contains(names[canonicalize_name(each.name)]), each.name
    for run in (TOP / "results/runs").glob("*/run.json"):
        versions = json.loads(run.read_text())["provenance"]["versions"]
        assert {name: names[name] for name in versions} == versions


def test_the_citation_is_of_this_version() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    citation = (TOP / "CITATION.cff").read_text()
    for line in (f"version: {project['version']}", f"license: {project['license']}"):
        assert f"\n{line}\n" in citation
    assert f"## {project['version']}" in (TOP / "CHANGELOG.md").read_text()
