"""The resources of one job: a table of a site file."""

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    StringConstraints,
    model_validator,
)

from pipeline.configs.base import Frozen
from pipeline.runtime.environment import MOST_MINUTES
from slurm.options import refuse_option, refuse_srun_option

MOST_NODES = 10_000  # ours: the largest clusters have fewer
MOST_GPUS = 64  # ours: no node has as many
LONGEST_LINE = 4096  # ours: as a path on Linux
# keys of which a table has one; one of its own replaces one of the top
CHOICES = (
    ("mem_gb", "mem_per_cpu", "mem_per_gpu"),
    ("cpus_per_task", "cpus_per_gpu"),
    ("gpus_per_node", "gres"),
)


def _one_line(text: str) -> str:
    """Refuse what ends a line (ten characters do), or is not seen in one."""
    if not text.isprintable():
        number = next(k for k, character in enumerate(text) if not character.isprintable())
        raise ValueError(
            f"character {number + 1} is {text[number]!a}; expected one line of characters that"
            " can be printed"
        )
    return text


def _without_quotes(text: str) -> str:
    """Refuse what sbatch reads otherwise than the shell does."""
    if wrong := re.search(r"""["'\\]""", text):
        raise ValueError(f"has {wrong[0]}; expected one line without quotes and backslashes")
    return text


def _gpus(value: Any) -> int | str:
    """Return a number of GPUs, or TYPE:NUMBER."""
    match = re.fullmatch(r"[A-Za-z0-9._-]{1,64}:(\d{1,2})", value) if type(value) is str else None
    number = int(match[1]) if match else value
    if type(number) is not int or not 0 <= number <= MOST_GPUS:
        raise ValueError(f"expected 0 to {MOST_GPUS} GPUs, or TYPE:NUMBER such as a100:4")
    return value  # type: ignore[no-any-return]


def _yes_or_whom(value: Any) -> bool | str:
    if value not in (True, False, "user", "mcs", "topo", "") or type(value) not in (bool, str):
        raise ValueError('expected true, false, "user", "mcs" or "topo"')
    return value  # type: ignore[no-any-return]


def _options(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of sbatch, by their full names."""
    for name, value in options.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,63}", name):
            raise ValueError(f"{name[:64]!a}: expected an option's long name, such as hint")
        refuse_option(name)
        if type(value) not in (bool, int, str):
            raise ValueError(f"{name}: expected a text, a whole number, or true")
        if type(value) is str:
            try:
                _without_quotes(_one_line(value[:LONGEST_LINE]))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return options


def _srun_option(text: str) -> str:
    match = re.fullmatch(r"--([a-z][a-z0-9-]{0,63})(=.*)?", text)
    if match is None:
        raise ValueError("expected an option such as --mpi=pmix, its value behind =")
    refuse_srun_option(match[1])
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_one_line)]
Text = Annotated[Line, AfterValidator(_without_quotes)]
# a value in SLURM's syntax; none of its characters ends an option, also without quotes
# (partitions, features, node lists, accounts, generic resources, licences, mail)
Words = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._,:@&|*+=%/()\[\]~-]{0,1024}$", strict=True)
]
Memory = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,9}[KMGT]?)?$", strict=True)]
# TOML tells true from 1, and 1.0
Count = Annotated[int, Field(strict=True)]


def renamed(name: str, default: Any = None, **bounds: Any) -> Any:
    """Return a field that site files of earlier versions call `slurm_<name>`."""
    return Field(default=default, validation_alias=AliasChoices(name, f"slurm_{name}"), **bounds)


class Resources(Frozen):
    """The resources of one job, which has nodes x tasks_per_node ranks.

    `array` jobs share the images of a preparation or an evaluation. Texts take what
    SLURM's options of these names take, such as `a100&ib` or `node[1-3],node7`.
    """

    # ours, all bounds: no node has as much
    nodes: Count = Field(default=1, ge=1, le=MOST_NODES)
    """Nodes of a job."""
    tasks_per_node: Count = Field(default=1, ge=1, le=1024)
    """Ranks on each node."""
    cpus_per_task: Count = Field(default=1, ge=1, le=4096)
    """Cores of each rank."""
    gpus_per_node: Annotated[int | str, BeforeValidator(_gpus)] = 0
    """GPUs of each node: a number, or TYPE:NUMBER such as a100:4."""
    ask_for_gpus: bool = Field(default=True, strict=True)
    """Whether sbatch is told of them: false where nodes come whole, with GPUs."""
    cpus_per_gpu: Count | None = Field(default=None, ge=1, le=4096)
    """Cores for each GPU, instead of cpus_per_task."""
    mem_gb: Annotated[float, Field(strict=True)] | None = Field(default=None, ge=0, le=1_000_000)
    """Memory of each node, in GB; 0 is all that it has."""
    mem_per_cpu: Memory | None = None
    """Memory for each core, such as 4000M, instead of mem_gb."""
    mem_per_gpu: Memory | None = None
    """Memory for each GPU, such as 60G, instead of mem_gb."""
    timeout_min: Count = Field(default=60, ge=1, le=MOST_MINUTES)
    """Time limit of a job, in minutes."""
    array: Count = Field(default=1, ge=1, le=10_000)
    """Jobs that share a preparation or an evaluation."""
    partition: Words | None = renamed("partition")
    """Partition, or several: gpu,preempt."""
    account: Words | None = renamed("account")
    """Account that the jobs are charged to."""
    qos: Words | None = renamed("qos")
    """Their quality of service."""
    constraint: Words | None = renamed("constraint")
    """What their nodes must have: a100&ib, a100|v100, [rack1|rack2]."""
    exclude: Words | None = renamed("exclude")
    """Nodes that they must not get: node[1-3],node7."""
    nodelist: Words | None = None
    """Nodes that they must get."""
    reservation: Words | None = None
    """Reservation that they use."""
    gres: Words | None = None
    """Generic resources of each node: gpu:a100:4, nvme:1."""
    exclusive: Annotated[bool | str, BeforeValidator(_yes_or_whom)] = False
    """Whether nodes are not shared: true, or with whom (user, mcs, topo)."""
    licenses: Words | None = None
    """Licences: matlab:1."""
    clusters: Words | None = None
    """Clusters of a federation that may take the job."""
    mail_type: Words | None = None
    """When SLURM sends mail: END,FAIL."""
    mail_user: Words | None = None
    """To whom."""
    nice: Annotated[int, Field(strict=True, ge=-(2**31) + 3, le=2**31 - 3)] | None = None
    """How far behind others the job queues."""
    comment: Text | None = None
    """Words for the administrators."""
    wckey: Words | None = None
    """Workload key."""
    sbatch: Annotated[dict[str, Any], AfterValidator(_options)] = Field(default={}, max_length=100)
    """Other options of sbatch, by their long names; true is one without a value."""
    srun: tuple[Annotated[Text, AfterValidator(_srun_option)], ...] = Field(
        default=(), max_length=100
    )
    """Options of srun, such as --mpi=pmix."""
    setup: tuple[Line, ...] = renamed("setup", (), max_length=1000)
    """Shell lines before each job."""

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Self:
        for keys in CHOICES:
            several = [key for key in keys if self._asks(key)]
            if len(several) > 1:
                raise ValueError(f"{' and '.join(several)} exclude each other; keep one")
        if not self.ask_for_gpus and self._asks("gres"):
            raise ValueError("gres asks for GPUs, and ask_for_gpus = false says not to")
        return self

    def _asks(self, key: str) -> bool:
        """Return whether a key of `CHOICES` asks for something."""
        value = getattr(self, key)
        if key == "gres":  # other generic resources stand beside gpus_per_node
            return gpus_of(value) > 0
        return value not in (None, "", 0) if key != "cpus_per_task" else value > 1

    @property
    def num_gpus(self) -> int:
        """The number of GPUs of a node."""
        return int(str(self.gpus_per_node).rpartition(":")[2]) or gpus_of(self.gres)

    @property
    def num_cores(self) -> int:
        """The number of cores of each rank."""
        if self.cpus_per_gpu is None:
            return self.cpus_per_task
        return max(1, self.cpus_per_gpu * self.num_gpus // self.tasks_per_node)

    def with_ranks(self, nodes: int, tasks_per_node: int) -> Self:
        """Return the same for other ranks, with no more GPUs on a node than ranks."""
        kind, colon, number = str(self.gpus_per_node).rpartition(":")
        gpus = min(tasks_per_node, int(number))
        return self.but(
            nodes=nodes,
            tasks_per_node=tasks_per_node,
            gpus_per_node=f"{kind}:{gpus}" if colon else gpus,
        )

    def over(self, top: "Resources") -> Self:
        """Return this table, with what it does not say itself from the top of its file.

        >>> top = Resources(mem_gb=8, partition="cpu")
        >>> merged = Resources(mem_per_cpu="4G").over(top)
        >>> merged.mem_gb, merged.mem_per_cpu, merged.partition
        (None, '4G', 'cpu')
        """
        own = self.model_fields_set
        names = (top.model_fields_set & Resources.model_fields.keys()) - own
        for keys in CHOICES:
            if any(key in own and (key != "gres" or self._asks(key)) for key in keys):
                names -= {key for key in keys if top._asks(key)}
        merged = self.model_copy(update={name: getattr(top, name) for name in names})
        merged = merged.model_copy(update={"sbatch": {**top.sbatch, **self.sbatch}})
        if merged.num_gpus:
            return merged
        # what is for each GPU means nothing here, unless the table itself says it
        lone = {key: None for key in ("cpus_per_gpu", "mem_per_gpu") if key not in own}
        return merged.model_copy(update=lone)


def gpus_of(gres: str | None) -> int:
    """Return the number of GPUs in a list of generic resources.

    >>> [gpus_of(gres) for gres in ("gpu:a100:4(S:0,1),nvme:1", "gpu:v100", "nvme:2")]
    [4, 1, 0]
    """
    number = 0
    for item in re.sub(r"\([^)]*\)", "", gres or "").split(","):
        name, *rest = item.removeprefix("gres:").removeprefix("gres/").split(":")
        if name == "gpu":
            number += int(rest[-1]) if rest and rest[-1].isdecimal() else 1
        elif name in ("shard", "mps"):  # parts of one
            number += 1
    return number
