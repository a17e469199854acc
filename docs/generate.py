"""The pages that are made from the code: commands, experiments, fields of configs.

A hook of mkdocs (mkdocs.yml): each build makes the pages anew, in memory.
"""

import ast
import html
import inspect
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click

from pipeline.commands.main import commands
from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.experiment import options_of

TOP = Path(__file__).parents[1]
PICTURE = "RESULTS.png"
FILES = (  # of the configs, as data flows
    "pipeline.configs.prepare",
    "pipeline.configs.network",
    "pipeline.configs.other_network",
    "pipeline.configs.optimizer",
    "pipeline.configs.train",
    "pipeline.configs.evaluate",
    "pipeline.configs.compare",
    "pipeline.configs.study",
    "slurm.resources",
    "slurm.site",
)
PAPERS = {  # what a field without a comment is, as the docstring of its class says
    "TrainConfig": "`paper`, sections 5 and 6",
    "NetworkConfig": "`paper`, Table 1 and section 5",
}
SOURCE = "Where the images come from."
BOUNDS = {
    "gt": "above {}",
    "ge": "at least {}",
    "lt": "below {}",
    "le": "at most {}",
    "multiple_of": "a multiple of {}",
}


def text(words: str) -> str:
    """Return words as Markdown that shows them as they are, in one line."""
    marked = re.sub(r"([*_|\[\]])", r"\\\1", html.escape(" ".join(words.split()), quote=False))
    return re.sub(r"`[^`]*`", lambda code: re.sub(r"\\([*_\[\]])", r"\1", code[0]), marked)


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def _options(parameters: Sequence[click.Parameter], context: click.Context) -> str:
    records = [option.get_help_record(context) for option in parameters]
    rows = [(f"`{names}`", text(words)) for names, words in filter(None, records)]
    return table(("option", "what"), rows) if rows else ""


def _paragraphs(words: str) -> str:
    return "\n\n".join(text(part) for part in inspect.cleandoc(words).split("\n\n"))


def _every_command(
    group: click.Group, context: click.Context
) -> Iterator[tuple[click.Command, click.Context]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        own = click.Context(command, info_name=name, parent=context)
        yield command, own
        if isinstance(command, click.Group):
            yield from _every_command(command, own)


def commands_page() -> str:
    """Return the page of all commands and their options."""
    top = click.Context(commands, info_name="going-deeper")
    parts = [
        "# Commands\n",
        "Made from the commands themselves. A command on a study takes an experiment file, and"
        " then the [options of that file](experiments.md).\n",
    ]
    for command, context in _every_command(commands, top):
        level = "##" if context.parent is top else "###"
        name = context.command_path.removeprefix("going-deeper ")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        parts += [
            f"{level} {name}\n",
            _paragraphs(command.help or "") + "\n",
            f"```text\n{usage}\n```\n",
            _options(
                [option for option in command.params if isinstance(option, click.Option)], context
            ),
        ]
        if example := (command.epilog or "").removeprefix("Example: "):
            parts.append(f"```sh\n{example}\n```\n")
    return "\n".join(parts)


def experiments_page() -> str:
    """Return the page of all experiments: how each begins, and its options."""
    parts = [
        "# Experiments\n",
        "Made from the files in `experiments/`. The options of an experiment are the keyword"
        " parameters of its function; the commands `run`, `plan`, `report` and others take them.\n",
    ]
    for path in sorted((TOP / "experiments").glob("*.py")):
        words = inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text())) or "")
        what, _, how = words.partition("\n\n")
        context = click.Context(click.Command(path.stem), info_name=path.stem)
        parts += [
            f"## {path.stem}\n",
            text(what) + "\n",
            f"```text\n{how}\n```\n",
            _options(options_of(path), context),
        ]
    return "\n".join(parts)


def _kind(annotation: Any) -> str:
    """Return a type for people."""
    inner, origin = get_args(annotation), get_origin(annotation)
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in inner)
    if origin is tuple:
        same = [part for part in inner if part is not Ellipsis]
        count = "any number" if Ellipsis in inner else str(len(inner))
        return f"{count} of: {_kind(same[0])}" if same else "nothing"
    if origin is dict:
        return "names and values"
    if inner:  # a union
        return " or ".join(_kind(part) for part in inner if part is not NoneType)
    if inspect.isclass(annotation) and issubclass(annotation, Frozen):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {"int": "whole number", "float": "number", "str": "text", "bool": "yes or no"}.get(
        annotation.__name__, "path"
    )


def _comment(lines: list[str], node: ast.AnnAssign) -> str:
    """Return the comment above a field, or behind it."""
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip("# \n"))
    last = lines[(node.end_lineno or node.lineno) - 1]
    behind = last.encode()[node.end_col_offset or 0 :].decode().strip("# \n")
    return " ".join(filter(None, (*above, behind)))


def _mark(kind: type[Frozen], name: str, comment: str) -> str:
    """Return where the value of a field comes from."""
    field = kind.model_fields[name]
    resources: frozenset[str] = getattr(kind, "resources", frozenset())
    reason = text(re.sub(r"^(ours|paper)\b[:;,]? ?", "", comment))
    if name in resources or kind.__module__.startswith("slurm."):
        mark = "resource"
    elif field.is_required():
        mark = "a study says it"
    elif not comment and kind.__name__ in PAPERS:
        return PAPERS[kind.__name__]
    else:
        first = re.search(r"\b(ours|paper)\b|^\.\.\.", comment)
        mark = "`ours`" if first is None or first[0] == "ours" else "`paper`"
    return f"{mark}: {reason}" if reason else mark


def _default(kind: type[Frozen], name: str) -> str:
    field = kind.model_fields[name]
    value = field.default
    if field.is_required():
        return "-"
    if isinstance(value, Frozen):
        return "its own"
    return "none" if value in (None, ()) else f"`{value}`"


def _rows(kind: type[Frozen], node: ast.ClassDef, lines: list[str]) -> Sequence[tuple[str, ...]]:
    rows = []
    for item, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
            continue
        name = item.target.id
        if name not in kind.model_fields or name == "version":
            continue
        field = kind.model_fields[name]
        words = field.description or SOURCE * (name == "source")
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            words = str(following.value.value)
        limits = [
            form.format(f"{getattr(bound, key):,}")
            for bound in field.metadata
            for key, form in BOUNDS.items()
            if getattr(bound, key, None) is not None
        ]
        value = ", ".join([_kind(field.annotation), *limits])
        mark = _mark(kind, name, _comment(lines, item))
        rows.append((f"`{name}`", text(words), value, _default(kind, name), mark))
    return rows


def fields() -> Iterator[tuple[type[Frozen], Sequence[tuple[str, ...]]]]:
    """Yield each config of a study or a site, with a row for each field of its own."""
    for file in FILES:
        module = import_module(file)
        source = inspect.getsource(module)
        for node in ast.parse(source).body:
            kind = getattr(module, node.name) if isinstance(node, ast.ClassDef) else None
            if (
                isinstance(node, ast.ClassDef)
                and inspect.isclass(kind)
                and issubclass(kind, Frozen)
            ):
                yield kind, _rows(kind, node, source.splitlines())


def fields_page() -> str:
    """Return the page of all fields of all configs."""
    heads = ("field", "what", "value", "default", "source")
    parts = [
        "# Fields of configs\n",
        "Made from the files in `pipeline/configs`, `slurm/resources.py` and `slurm/site.py`."
        " `paper` is the paper's value, with its section; `ours` is our choice, with the reason"
        " where there is one. A resource moves no number and is in no hash.\n",
    ]
    for kind, rows in fields():
        parts += [f"## {kind.__name__}\n", _paragraphs(kind.__doc__ or "") + "\n"]
        bases = [base for base in kind.__bases__ if base not in (Frozen, StageConfig)]
        if links := " and ".join(_kind(base) for base in bases):
            parts.append(f"It has the fields of {links} too.\n")
        if rows:
            parts.append(table(heads, rows))
    return "\n".join(parts)


def python_page() -> str:
    """Return the page of all that `import going_deeper` gives."""
    module = import_module("going_deeper")  # takes torch
    parts = ["# import going_deeper\n", "Made from the module itself.\n"]
    parts.append(f"```text\n{inspect.cleandoc(module.__doc__ or '')}\n```\n")
    for name in module.__all__:
        value = getattr(module, name)
        words = inspect.cleandoc(value.__doc__ or "")
        is_error = inspect.isclass(value) and issubclass(value, Exception)
        form = name if is_error else f"{name}{inspect.signature(value)}"
        form = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", form)  # names without their modules
        parts.append(f"## {name}\n\n```text\n{form}\n\n{words}\n```\n")
    return "\n".join(parts)


PAGES = {
    "reference/commands.md": commands_page,
    "reference/experiments.md": experiments_page,
    "reference/fields.md": fields_page,
    "reference/python.md": python_page,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the site, as mkdocs asks of a hook."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    # measured.md shows RESULTS.md, and that shows a picture
    files.append(File.generated(config, PICTURE, abs_src_path=str(TOP / PICTURE)))
    return files
