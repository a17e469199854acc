"""The command `going-deeper`: where each command lies, and what the user reads at its
end.
"""

import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from pipeline.errors import (
    Bug,
    ExpectedError,
    StageEnded,
    StageFailed,
    did_you_mean,
    first_line,
    is_input,
    of_file,
)
from pipeline.repeated import refuse_repeated
from pipeline.runtime.environment import COMMAND

WRONG_INPUT, INTERRUPTED = 2, 130

COMMANDS = {  # by name: the file that it lies in, and its line in --help
    "run": ("run", "Run the missing stages of a study, here or as jobs of a site."),
    "plan": (
        "plan",
        "Show the stages of a study: which exist, which would run, and what they will cost.",
    ),
    "sweep": ("sweep", "Run a study with each of several values of its fields, and compare."),
    "experiments": ("experiments", "List the experiments that ship, and how to run them."),
    "init": ("start", "Write an experiment, a site file and a README of your own, to edit."),
    "status": (
        "site",
        (
            "Show a study's stages: state, job, node, progress, time left, and why one waits or"
            " failed."
        ),
    ),
    "logs": ("site", "Show what the jobs of a study wrote last."),
    "cancel": ("site", "End the jobs of a study that run or wait."),
    "report": ("report", "Rebuild the report of a study from its verdicts and results."),
    "index": (
        "report",
        "Write a page of all studies under a root, and their results as CSV in timm's columns.",
    ),
    "publish": (
        "report",
        "Copy the small files of a finished study: hits, figures, verdicts, provenance.",
    ),
    "recount": (
        "report",
        "Make every figure of a finished study again from the hits of every image, and compare.",
    ),
    "verify": (
        "verify",
        "Compare every file of a study, or of a root, with the digest that it was sealed with.",
    ),
    "evaluate": (
        "evaluate",
        (
            "Measure any classifier on up to 144 crops, under the paper's protocol, every count"
            " from one pass."
        ),
    ),
    "finetune": (
        "finetune",
        "Train a network on classes of your own, evaluate it, and report.",
    ),
    "export": (
        "export",
        "Write a trained member for timm and the Hub: safetensors, ONNX, config, card.",
    ),
    "convert": ("export", "Turn Caffe's GoogLeNet, a .caffemodel, into what export writes."),
    "data": ("data", "Prepare data sets, check that they are whole, look at them."),
    "site": ("site", "Make a site file, or try one on its nodes."),
    "slurm": ("site", "A real SLURM cluster of several nodes on this machine, to try a study on."),
    "sync": ("sync", "Upload to W&B what its server does not have yet."),
    "dashboard": ("dashboard", "Create or update a study's workspace and report on W&B."),
    "audit": (
        "measure",
        "Count Table 1 again, row by row: printed, counted, explained; and Table 3's arithmetic.",
    ),
    "find-rate": (
        "measure",
        "Try a member's training at a rate that grows at every step, on one process.",
    ),
    "benchmark": (
        "benchmark",
        "Measure speed on this machine, ours beside what people usually write.",
    ),
    "selftest": (
        "selftest",
        "Test that a device computes what the CPU computes, and measure its speed.",
    ),
    "completion": ("start", "Print what makes a shell complete commands, names and options."),
}


class LazyGroup(click.Group):
    """Commands that are imported when they are called: `--help` and completion read the
    table alone.
    """

    def __init__(self, table: Mapping[str, tuple[str, str]], **options: object):
        super().__init__(**options)  # type: ignore[arg-type]
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command from its file, where it has the same name."""
        if cmd_name not in self._table:
            return None
        module = import_module(f"pipeline.commands.{self._table[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; of a wrong name, say which is near."""
        name = args[0]
        if not (name in self._table or name.startswith("-") or ctx.resilient_parsing):
            raise click.UsageError(
                f"No such command {name!r}{did_you_mean(name, self._table)}", ctx
            )
        found = super().resolve_command(ctx, args)
        _, command, rest = found
        if command is not None and not ctx.resilient_parsing:
            refuse_repeated(command, click.Context(command, ctx, name), rest)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._table.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names of commands, then options."""
        names = [
            CompletionItem(name, help=line)
            for name, (_, line) in self._table.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


commands = LazyGroup(
    COMMANDS,
    name="going-deeper",
    help="Reproduce GoogLeNet: from raw images to a verdict on every published number.",
    epilog="Example: going-deeper run demo",
    context_settings={"max_content_width": 110},
)
click.version_option(package_name="going-deeper", message="%(prog)s %(version)s")(commands)


def main() -> None:
    """Run the command line.

    An error that a user can expect is one line, and has an exit code (errors.py).
    """
    os.environ.setdefault(COMMAND, shlex.join(["going-deeper", *sys.argv[1:]]))
    _open_standard_files()
    try:
        sys.exit(commands.main(prog_name="going-deeper", standalone_mode=False))
    except StageEnded as error:
        _exit(error.exit_code, f"{error}; the same command goes on from here")
    except ExpectedError as error:
        _exit(error.exit_code, str(error))
    except OSError as error:
        code = WRONG_INPUT if is_input(error) else StageFailed.exit_code
        _exit(code, str(of_file(error, "output")))
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
    except click.UsageError as error:
        help_for = error.ctx.command_path if error.ctx else "going-deeper"
        message = _in_our_words(error)
        _exit(WRONG_INPUT, f"{message}{'' if message.endswith('?') else ';'} see {help_for} --help")
    except (click.Abort, KeyboardInterrupt):
        _exit(INTERRUPTED, "interrupted; the same command goes on from here")
    except Exception as error:
        text = str(error) if isinstance(error, Bug) else traceback.format_exc()
        print(text, file=sys.stderr)
        last = error.last_line if isinstance(error, Bug) else first_line(error)
        _exit(
            StageFailed.exit_code,
            f"a mistake of ours: {last}; please report it with the file {_write_report(text)}",
        )


def _in_our_words(error: click.UsageError) -> str:
    """Return click's message, with the nearest name as in all of our messages."""
    near = getattr(error, "possibilities", None)
    if not near:
        return error.format_message().rstrip(".")
    return f"{error.message.rstrip('.')}; did you mean {near[0]}?"


def _open_standard_files() -> None:
    """Open the standard files that a caller has closed.

    Otherwise the next open file would take their place.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _exit(code: int, message: str) -> None:
    # a file's name may hold anything
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"going-deeper: {line}", file=sys.stderr)
    sys.exit(code)


def _write_report(text: str) -> Path:
    """Write a file that helps to find a mistake of ours, and return its path.

    The file holds the command, the machine and the traceback.
    """
    descriptor, name = tempfile.mkstemp(prefix="going-deeper-", suffix=".txt")
    with os.fdopen(descriptor, "w") as file:
        file.write(
            f"{os.environ[COMMAND]}\n{platform.platform()}, Python"
            f" {platform.python_version()}\n\n{text}"
        )
    return Path(name)
