"""What --help says of each command."""

from pathlib import Path

import click
import pytest

from pipeline.commands.main import commands
from tests.commands import in_process


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["plan"],
        ["sweep"],
        ["report"],
        ["evaluate"],
        ["export"],
        ["audit"],
        ["sync"],
        ["dashboard"],
        ["experiments"],
        ["init"],
        ["completion"],
    ],
    ids=str,
)
def test_help_has_an_example(arguments: list[str]) -> None:
    shown = in_process(*arguments, "--help")
    assert shown.returncode == 0
    assert "Example: going-deeper" in shown.stdout


@pytest.mark.parametrize("group", ["data", "site", "slurm", "benchmark"])
def test_a_list_of_commands_is_not_cut(group: str) -> None:
    """Each command has its line whole, on a screen of 80 columns."""
    command = commands.get_command(click.Context(commands), group)
    assert isinstance(command, click.Group)
    with click.Context(command, info_name=group, terminal_width=80) as context:
        shown = command.get_help(context).partition("Commands:\n")[2]
    assert len(shown.splitlines()) == len(command.commands)
    assert "..." not in shown


def test_an_experiments_own_options_are_shown(tmp_path: Path) -> None:
    """They stand beside the options of the command. Without an experiment the help says
    how to see them.
    """
    shown = in_process("plan", "experiments/demo.py", "--help").stdout
    assert "--members INTEGER RANGE" in shown
    assert "Trainings of an ensemble; they differ in" in shown
    assert "--members" not in (alone := in_process("plan", "--help").stdout.split("Example")[0])
    assert "going-deeper plan EXPERIMENT --help lists them" in alone
    (tmp_path / "plain.py").write_text("def experiment(): ...")
    shown = in_process("run", "--help", tmp_path / "plain.py").stdout
    assert "plain.py has none" in " ".join(shown.split())
    failed = in_process("run", "nowhere.py", "--help")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("going-deeper: nowhere.py: no such Python file")
