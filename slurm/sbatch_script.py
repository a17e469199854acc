"""A batch script that works for somebody: its options, and the lines that it runs."""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from typing import NamedTuple

# the long name of each short option, of sbatch and of srun
SHORT = {
    "A": "account", "a": "array", "b": "begin", "B": "extra-node-info", "c": "cpus-per-task",
    "C": "constraint", "d": "dependency", "D": "chdir", "e": "error", "F": "nodefile",
    "G": "gpus", "H": "hold", "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses",
    "m": "distribution", "M": "clusters", "n": "ntasks", "N": "nodes", "o": "output",
    "O": "overcommit", "p": "partition", "q": "qos", "Q": "quiet", "s": "oversubscribe",
    "S": "core-spec", "t": "time", "v": "verbose", "V": "version", "w": "nodelist",
    "W": "wait", "x": "exclude",
}  # fmt: skip
SRUN_SHORT = SHORT | {
    "E": "preserve-env", "I": "immediate", "K": "kill-on-bad-exit", "l": "label",
    "r": "relative", "T": "threads", "u": "unbuffered", "X": "disable-status",
}  # fmt: skip
# options without a value, or with one only behind =
FLAGS = frozenset({
    "contiguous", "exclusive", "get-user-env", "hold", "ignore-pbs", "nice", "no-kill",
    "no-requeue", "overcommit", "oversubscribe", "parsable", "quiet", "reboot", "requeue",
    "spread-job", "test-only", "use-min-nodes", "verbose", "wait", "disable-status", "exact",
    "kill-on-bad-exit", "label", "multi-prog", "overlap", "preserve-env", "pty", "unbuffered",
    "container-mount-home", "no-container-mount-home", "container-remap-root",
    "container-entrypoint", "no-container-entrypoint", "container-writable", "container-readonly",
})  # fmt: skip
OTHER_NAMES = {"tasks-per-node": "ntasks-per-node", "workdir": "chdir"}
OPENING = re.compile(r"^(if|for|while|until|case|select|function)\b|^\w+\s*\(\)|\{$")
CLOSING = re.compile(r"^(fi|done|esac|\})(\s|;|$)")
HERE_DOCUMENT = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")


class Line(NamedTuple):
    """A line that a script runs; `is_plain` unless it stands in a block, such as if."""

    number: int
    text: str
    is_plain: bool


class Script(NamedTuple):
    """The options of a batch script, by their long names, and the lines that it runs.

    `late` are lines of options behind the first command, which sbatch ignores.
    """

    options: dict[str, str]
    lines: tuple[Line, ...]
    late: tuple[int, ...]


def read_script(text: str) -> Script:
    """Return what a batch script says.

    >>> script = read_script("#!/bin/sh\\n#SBATCH -N2 -p gpu  # two\\nsrun python a.py")
    >>> script.options, script.lines[0].text
    ({'nodes': '2', 'partition': 'gpu'}, 'srun python a.py')
    """
    options: dict[str, str] = {}
    commands: list[tuple[int, str]] = []
    late = []
    for number, line in _joined(text):
        if line.startswith("#SBATCH"):
            if commands:
                late.append(number)
                continue
            pairs, _ = options_of(words_of(line.removeprefix("#SBATCH")), SHORT)
            options |= dict(pairs)
        elif line.strip() and not line.lstrip().startswith("#"):
            commands.append((number, line.strip()))
    return Script(options, tuple(_in_blocks(commands)), tuple(late))


def options_of(
    words: list[str], short: Mapping[str, str], flags: Collection[str] = FLAGS
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the options at the beginning of some words, by their long names, and the
    words behind them. An option without a value has an empty one.

    >>> options_of(["-n4", "--mpi", "pmix", "-l", "python", "-u"], SRUN_SHORT)
    ([('ntasks', '4'), ('mpi', 'pmix'), ('label', '')], ['python', '-u'])
    """
    rest, pairs = list(words), []
    while rest and re.match(r"-[-A-Za-z]", rest[0]):
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
        else:
            name, equals, value = short.get(word[1], word[1]), word[2:], word[2:].lstrip("=")
        if not equals and name not in flags and rest:
            value = rest.pop(0)
        pairs.append((OTHER_NAMES.get(name, name), value))
    return pairs, rest


def words_of(line: str) -> list[str]:
    """Return the words of a line, without its comment, which begins a word.

    >>> words_of("srun --container-image=nvcr.io#nvidia/pytorch:24  # don't")
    ['srun', '--container-image=nvcr.io#nvidia/pytorch:24']
    """
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that does not end, as in a comment
        words = re.split(r"\s#", line)[0].split()
    return list(takewhile(lambda word: not word.startswith("#"), words))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line with the number of its first part; a backslash continues one."""
    first, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        first = first if parts else number
        if line.endswith("\\") and not line.startswith("#"):
            parts.append(line[:-1].strip())
            continue
        yield first, " ".join([*parts, line.strip()]) if parts else line
        parts = []
    if parts:
        yield first, " ".join(parts)


def _in_blocks(commands: list[tuple[int, str]]) -> Iterator[Line]:
    """Yield commands, with whether they stand outside of blocks."""
    depth, end = 0, ""
    for number, text in commands:
        if end:
            end = "" if text == end else end
            yield Line(number, text, is_plain=False)
            continue
        opens = bool(OPENING.search(text))
        closes = bool(CLOSING.search(text)) or (
            opens and bool(re.search(r"\b(fi|done|esac)$", text))
        )
        yield Line(number, text, is_plain=depth == 0 and not opens and not closes)
        depth = max(0, depth + opens - closes)
        if here := HERE_DOCUMENT.search(text):
            end = here[1]
