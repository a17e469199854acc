"""A site file: the resources of each kind of job on a cluster.

It is validated data; its fields keep submitit's names.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from pipeline.configs.base import Frozen
from pipeline.configs.wrong_fields import LONGEST_VALUE, clipped, in_words, one_line
from pipeline.errors import InputError, did_you_mean
from pipeline.runtime.device import Device
from pipeline.runtime.environment import is_secret

SITES = Path(__file__).parent / "sites"
KINDS = ("prepare", "train", "evaluate", "report")  # of jobs; each has its own table

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
MOST_NODES = 10_000  # ours: the largest clusters have fewer
MOST_BYTES = 65_536  # ours: of a site file; ours have 2,000
MOST_MINUTES = 527_040  # ours: a year
LONGEST_KEY = 64  # ours: in a message
MOST_TRIES = 10_000  # ours: more would be for ever
LONGEST_LINE = 4096  # ours: as a path on Linux


def _one_line(text: str) -> str:
    """Refuse what ends a line (ten characters do), or is not seen in one."""
    if not text.isprintable():
        number = next(k for k, character in enumerate(text) if not character.isprintable())
        raise ValueError(
            f"character {number + 1} is {text[number]!a}; expected one line of characters that"
            " can be printed"
        )
    return text


Line = Annotated[str, Field(max_length=LONGEST_LINE), AfterValidator(_one_line)]
# TOML tells true from 1, and 1.0
Count = Annotated[int, Field(strict=True)]


class Resources(Frozen):
    """The resources of one job, which has nodes x tasks_per_node ranks.

    `array` jobs share the images of a preparation or an evaluation.
    """

    # ours, all bounds: no node has as much
    nodes: Count = Field(default=1, ge=1, le=MOST_NODES)
    """Nodes of a job."""
    tasks_per_node: Count = Field(default=1, ge=1, le=1024)
    """Ranks on each node."""
    cpus_per_task: Count = Field(default=1, ge=1, le=4096)
    """Cores of each rank."""
    gpus_per_node: Count = Field(default=0, ge=0, le=64)
    """GPUs of each node."""
    mem_gb: Annotated[float, Field(strict=True)] | None = Field(default=None, gt=0, le=1_000_000)
    """Memory of each node, in GB."""
    timeout_min: Count = Field(default=60, ge=1, le=MOST_MINUTES)
    """Time limit of a job, in minutes."""
    array: Count = Field(default=1, ge=1, le=10_000)
    """Jobs that share a preparation or an evaluation."""


class Site(Frozen):
    """Where jobs run (`local`: on this machine, or `slurm`), and their resources.

    `report` is the one job that ensembles, checks and reports. A job that reaches its
    time limit saves and is requeued, at most `max_timeouts` times. A job with a
    transient failure (disk, network, a lost rank) is tried again, at most `max_retries`
    times. A job whose node dies is tried again, at most `max_node_failures` times. A
    node on which jobs died twice in a week gets no new jobs. `scratch` becomes TMPDIR.
    `slurm_array_parallelism` limits how many jobs of an array run at once.
    """

    cluster: Literal["local", "slurm"]
    """SLURM, or processes of this machine."""
    slurm_partition: Name | None = None
    """Partition of the jobs."""
    slurm_account: Name | None = None
    """Account that they are charged to."""
    slurm_qos: Name | None = None
    """Their quality of service."""
    slurm_constraint: Name | None = None
    """What their nodes must have."""
    slurm_setup: tuple[Line, ...] = Field(default=(), max_length=1000)  # ours
    """Shell lines before each job."""
    slurm_exclude: Name | None = None
    """Nodes that they must not get."""
    slurm_array_parallelism: Count = Field(default=256, ge=1, le=10_000)
    """Most jobs of an array that run at once."""
    slurm_signal_delay_s: Count = Field(default=90, ge=1, le=65_535)  # sbatch(1), --signal
    """Seconds from a job's signal to its time limit."""
    environment: dict[Variable, Line] = Field(default={}, max_length=1000)  # ours
    """Variables of the jobs."""
    scratch: (
        Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]*$", max_length=LONGEST_LINE)]
        | None
    ) = None
    """Becomes TMPDIR."""
    max_timeouts: Count = Field(default=100, ge=0, le=MOST_TRIES)
    """Times that a job may reach its time limit."""
    max_retries: Count = Field(default=3, ge=0, le=MOST_TRIES)
    """Times that a job is tried again after a passing failure."""
    max_node_failures: Count = Field(default=10, ge=0, le=MOST_TRIES)
    """Times that a job is tried again after its node died."""
    price_per_hour: Annotated[float, Field(ge=0, le=1e6, strict=True)] | None = None
    """What an hour of a GPU costs, or of a core where a job has no GPU; for `plan`."""
    currency: Name | None = None
    """Of the price, such as EUR."""
    watts: Annotated[float, Field(ge=0, le=1e6, strict=True)] | None = None
    """What a GPU draws with its share of the node, or a core; for `plan`."""
    prepare: Resources = Resources()
    """Resources of a preparation."""
    train: Resources = Resources()
    """Resources of a training."""
    evaluate: Resources = Resources()
    """Resources of an evaluation."""
    report: Resources = Resources()
    """Resources of the job that ensembles, judges and reports."""

    @model_validator(mode="after")
    def _is_one_machine(self) -> "Site":
        for kind in KINDS:
            if self.cluster == "local" and (nodes := self.granted(kind).nodes) > 1:
                raise ValueError(
                    f"{kind}.nodes = {nodes}: a local site is one machine; use tasks_per_node"
                )
        return self

    def granted(self, stage: str) -> Resources:
        """Return the resources of a kind of job."""
        resources: Resources = getattr(self, stage)
        return resources

    def without_secrets(self) -> "Site":
        """Return the site for others to read: no variable shows a secret."""
        known = {
            name: "(a secret)" if is_secret(name) else value
            for name, value in self.environment.items()
        }
        return self.but(environment=known)

    def num_ranks(self) -> dict[str, int]:
        """Return the number of ranks that share a stage, by kind of job."""
        kinds = {kind: self.granted(kind) for kind in KINDS}
        return {kind: job.nodes * job.tasks_per_node * job.array for kind, job in kinds.items()}

    def devices(self) -> dict[str, Device]:
        """Return a rank's device, by kind of job; a site does not know its model."""
        return {
            kind: Device("GPU" if self.granted(kind).gpus_per_node else "core") for kind in KINDS
        }

    @property
    def patience(self) -> dict[str, int]:
        """The limits on how often a job is tried again, by cause."""
        return {"max_retries": self.max_retries, "max_node_failures": self.max_node_failures}

    def in_words(self) -> dict[str, str]:
        """Return the resources of each kind of job, for people."""
        texts = {}
        for kind in KINDS:
            resources = self.granted(kind)
            ranks = resources.nodes * resources.tasks_per_node
            words = (
                f"{ranks} rank{'s' if ranks > 1 else ''} on {resources.nodes}"
                f" node{'s' if resources.nodes > 1 else ''}"
            )
            words += f", {resources.gpus_per_node} GPUs a node" if resources.gpus_per_node else ""
            words += f", an array of {resources.array}" if resources.array > 1 else ""
            texts[kind] = f"{words}, {resources.timeout_min} min"
        return texts


def site_names() -> list[str]:
    """Return the names of the site files that ship."""
    return sorted(path.stem for path in SITES.glob("*.toml"))


def load_site(path: Path) -> Site:
    """Read a site file: a path, or the name of one that ships. A file that exists wins.

    Raises:
        InputError: there is no such file or name, it is not TOML, or it has a value out
            of range or an unknown key (the message names the nearest valid key).
    """
    if not path.is_file() and str(path) in site_names():
        path = SITES / f"{path}.toml"
    content = _toml(path)
    try:
        return Site.model_validate(content)
    except ValidationError as error:
        for item in error.errors():
            place = [str(part) for part in item["loc"]]
            if place[0:1] == ["environment"] and is_secret(place[-1]):  # its value is not shown
                key = clipped(".".join(place), LONGEST_VALUE)
                raise InputError(f"{path}: {key}: {in_words(item, error.title)}") from None
            if item["type"] == "extra_forbidden":
                raise InputError(f"{path}: {_unknown_key(place)}") from None
        raise InputError(f"{path}: {one_line(error)}") from None


def _toml(path: Path) -> dict[str, Any]:
    expected = f"expected a file.toml, or one of {', '.join(site_names())}"
    try:
        if not path.is_file():  # a device would be read without end
            near = did_you_mean(path.stem, site_names())
            raise InputError(f"{path}: no such site file; {expected}{near}")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"{path}: has {size} bytes, more than {MOST_BYTES}; {expected}")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {expected}") from None
    except RecursionError:
        raise InputError(f"{path}: has tables or lists within each other, too deep") from None
    except ValueError as error:  # also of a number of 5,000 digits, and of what is no UTF-8
        raise InputError(f"{path}: is not TOML: {error}") from None


def _unknown_key(location: list[str]) -> str:
    *table, key = (part[:LONGEST_KEY] for part in location)
    valid = list((Resources if table and table[0] in KINDS else Site).model_fields)
    hint = did_you_mean(key, valid) or f"; valid keys: {', '.join(valid)}"
    return f"unknown key {'.'.join((*table, key))}{hint}"
