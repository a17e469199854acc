"""The first steps of a user: a folder to work in, and a shell that completes."""

import shlex
from importlib.resources import files
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from pipeline.commands.arguments import PATH
from pipeline.errors import InputError, present

STARTER = ("README.md", "experiment.py", "site.toml")


@click.command(epilog="Example: going-deeper init mine")
@click.argument("folder", type=PATH)
def init(folder: Path) -> None:
    """Write an experiment, a site file and a README of your own, to edit.

    The experiment runs at once, on the embedded digits. FOLDER is made; if it
    exists, it must be empty.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: exists and is no empty folder; choose another FOLDER")
    folder.mkdir(parents=True, exist_ok=True)
    for name in STARTER:
        (folder / name).write_bytes(files("pipeline").joinpath("starter", name).read_bytes())
    print("\n".join(f"wrote {folder / name}" for name in STARTER))
    print(
        f"try it, in two minutes: cd {shlex.quote(str(folder))} && going-deeper run experiment.py"
    )


@click.command(epilog="Example: going-deeper completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, names and options.

    An experiment's own options are completed too. New shells complete once the
    lines are in ~/.bashrc, in ~/.zshrc (below compinit), or in
    ~/.config/fish/completions/going-deeper.fish.
    """
    kind = present(get_completion_class(shell), shell)
    group = click.get_current_context().find_root().command
    print(kind(group, {}, "going-deeper", "_GOING_DEEPER_COMPLETE").source())
