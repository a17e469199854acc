"""What the lines of a batch script prepare for its program: modules, variables, options
of srun, a container.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from pipeline.configs.wrong_fields import clipped
from pipeline.runtime.environment import is_secret
from slurm.options import SRUN_REFUSED
from slurm.parameters import shows_secret
from slurm.resources import Resources
from slurm.sbatch_script import SRUN_SHORT, Line, options_of, words_of

SETUP = re.compile(
    r"(module|ml|source|\.|conda|mamba|micromamba|spack|eval|ulimit|unset|shopt|export)(\s|$)"
)
NO_MATTER = re.compile(
    r"(echo|printf|date|hostname|pwd|env|which|nvidia-smi|rocm-smi|set|wait|true|exit)(\s|$)"
)
EXPORT = re.compile(r"export\s+([A-Za-z_]\w*)=(.*)")
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(\S*|\"[^\"]*\"|'[^']*')$")
INTERPRETER = re.compile(r"(.*/)?(python[\d.]*|torchrun|accelerate|deepspeed|bash|sh)")
CONTAINERS = ("apptainer", "singularity", "shifter", "podman-hpc", "enroot")
# variables that the launcher or torch sets
OWN = re.compile(r"MASTER_(ADDR|PORT)|WORLD_SIZE|RANK|LOCAL_RANK|NODE_RANK|PYTHONPATH|SLURM_\w+")
LONGEST = 72  # ours: of a line of a script, in a comment


@dataclass
class Surroundings:
    """What surrounds the program of a script; `notes` say what is not taken over."""

    setup: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    srun: list[str] = field(default_factory=list)
    python: str | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def note(self, line: Line, reason: str) -> None:
        """Note a line that is not taken over; a secret is not shown."""
        names = re.findall(r"\b([A-Za-z_]\w*)=", line.text)
        text = next((f"{name}=..." for name in names if is_secret(name)), line.text)
        self.notes.append((f"line {line.number}: {clipped(text, LONGEST)}", reason))


def surroundings_of(lines: Sequence[Line]) -> Surroundings:
    """Return what the lines of a batch script prepare."""
    around = Surroundings()
    for line in lines:
        if line.is_plain:
            _take(line, around)
        else:
            around.note(line, "stands in a block")
    around.setup = [
        text
        for k, text in enumerate(around.setup)
        if not (own := ASSIGNMENT.fullmatch(text)) or _uses(around.setup[k + 1 :], own[1])
    ]
    if around.python is None and any("--container-image" in option for option in around.srun):
        around.python = "python3"  # this Python is not in the container
    return around


def _take(line: Line, around: Surroundings) -> None:
    """Take over a line, or note it."""
    if "srun" not in line.text and shows_secret(line.text):
        around.note(line, "a secret: export it before you submit, SLURM passes it on")
    elif re.match(r"(time\s+|exec\s+)?srun\s", line.text):
        _step(line, around)
    elif match := EXPORT.fullmatch(line.text):
        _variable(line, match[1], match[2], around)
    elif match := ASSIGNMENT.fullmatch(line.text):
        _assignment(line, match[1], match[2], around)
    elif all(SETUP.match(part.strip()) for part in re.split(r"&&|;", line.text) if part.strip()):
        around.setup.append(line.text)
    elif re.match(r"cd(\s|$)", line.text):
        around.note(line, "jobs start where you submit")
    elif not NO_MATTER.match(line.text):
        _program(line, _expanded(words_of(line.text), around), around)


def _uses(lines: Sequence[str], name: str) -> bool:
    return any(re.search(rf"\$\{{?{name}\b", line) for line in lines)


def _variable(line: Line, name: str, value: str, around: Surroundings) -> None:
    words = words_of(value)
    if OWN.fullmatch(name):
        around.note(line, "the launcher sets it")
    elif "$" in value or "`" in value:
        around.setup.append(line.text)  # the batch script expands it
    elif len(words) > 1:
        around.setup.append(line.text)
    else:
        around.environment[name] = around.variables[name] = words[0] if words else ""


def _assignment(line: Line, name: str, value: str, around: Surroundings) -> None:
    words = _expanded(words_of(value), around)
    if OWN.fullmatch(name) or is_secret(name):
        around.note(line, "the launcher sets it, or it is a secret")
    elif len(words) == 1 and not re.search(r"[$`]", words[0]):
        around.variables[name] = words[0]
        around.setup.append(line.text)
    else:
        around.note(line, "a variable of the shell alone")


def _step(line: Line, around: Surroundings) -> None:
    """Take over the options of srun, and the words before the program."""
    words = _expanded(words_of(line.text), around)
    pairs, command = options_of(words[words.index("srun") + 1 :], SRUN_SHORT)
    for name, value in pairs:
        text = f"--{name}={value}" if value else f"--{name}"
        reason = "holds a secret" if shows_secret(text) else SRUN_REFUSED.get(name)
        text = "--..." if shows_secret(text) else text
        if reason is None and re.search(r"[$`]", value):
            reason = "is not expanded; write the value out"
        if reason is None:
            try:
                Resources(srun=(text,))
            except ValidationError as error:
                reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        if reason is not None:
            around.notes.append((f"line {line.number}: srun {clipped(text, LONGEST)}", reason))
        elif name != "unbuffered" and text not in around.srun:  # the launcher sets that one
            around.srun.append(text)
    _program(line, command, around)


def _program(line: Line, words: list[str], around: Surroundings) -> None:
    """Note a program, and take over the container in which it runs, or its Python."""
    places = [k for k, word in enumerate(words) if INTERPRETER.fullmatch(word)]
    if not places or (places[0] and words[0].rpartition("/")[2] not in CONTAINERS):
        around.note(line, "jobs run the stages of a study instead")
        return
    word = words[places[0]]
    is_python = re.fullmatch(r"(.*/)?python[\d.]*", word) is not None
    if places[0] or (is_python and "/" in word):
        python = [*words[: places[0]], word if is_python else "python3"]
        if re.search(r"[$`]", " ".join(python)) or shows_secret(" ".join(python)):
            around.note(line, "python shows a secret or a variable; write it as python = ...")
        elif around.python is None:
            around.python = shlex.join(python)
    around.note(line, "jobs run the stages of a study instead")


def _expanded(words: list[str], around: Surroundings) -> list[str]:
    """Return words with the variables whose values the script says."""

    def value(match: "re.Match[str]") -> str:
        return around.variables.get(match[1] or match[2], match[0])

    return [re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, word) for word in words]
