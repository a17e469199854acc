"""A site file: the resources of each kind of job on a cluster.

It is validated data; its fields keep submitit's names.
"""

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from pipeline.configs.wrong_fields import LONGEST_VALUE, clipped, in_words, one_line
from pipeline.errors import InputError, did_you_mean
from pipeline.runtime.device import Device
from pipeline.runtime.environment import MOST_MINUTES, PATIENCE, PATIENCE_MINUTES, is_secret
from slurm.resources import LONGEST_LINE, Count, Line, Name, Resources, renamed

SITES = Path(__file__).parent / "sites"
KINDS = ("prepare", "train", "evaluate", "report")  # of jobs; each has its own table

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
MOST_BYTES = 65_536  # ours: of a site file; ours have 2,000
LONGEST_KEY = 64  # ours: in a message
MOST_TRIES = 10_000  # ours: more would be for ever


def _shell_words(text: str) -> str:
    if not shlex.split(text):
        raise ValueError("expected the words of a command, such as apptainer exec x.sif python3")
    return text


class Site(Resources):
    """Where jobs run (`local`: on this machine, or `slurm`), and their resources.

    `report` is the one job that ensembles, checks and reports. A job that reaches its
    time limit saves and is requeued, at most `max_timeouts` times. A job with a
    transient failure (disk, network, a lost rank) is tried again, at most `max_retries`
    times. A job whose node dies is tried again, at most `max_node_failures` times. A
    node on which jobs died twice in a week gets no new jobs. `scratch` becomes TMPDIR.
    `array_parallelism` limits how many jobs of an array run at once.

    Any key of a job's table may stand at the top too: it is the default of all four. An
    empty text in a table takes that default away. A table without GPUs does not go to a
    partition of GPUs by default: it says the partition itself, also the same one.
    """

    cluster: Literal["local", "slurm"]
    """SLURM, or processes of this machine."""
    python: Annotated[Line, AfterValidator(_shell_words)] | None = None
    """The jobs' Python, this one by default: apptainer exec --nv image.sif python3."""
    array_parallelism: Count = renamed("array_parallelism", 256, ge=1, le=10_000)
    """Most jobs of an array that run at once."""
    signal_delay_s: Count = renamed("signal_delay_s", 90, ge=1, le=65_535)  # sbatch(1), --signal
    """Seconds from a job's signal to its time limit."""
    environment: dict[Variable, Line] = Field(default={}, max_length=1000)  # ours
    """Variables of the jobs."""
    scratch: (
        Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]*$", max_length=LONGEST_LINE)]
        | None
    ) = None
    """Becomes TMPDIR."""
    collective_timeout_min: Count = Field(default=PATIENCE_MINUTES, ge=1, le=MOST_MINUTES)
    """Minutes that a rank waits for the others of its job."""
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

    @property
    def variables(self) -> dict[str, str]:
        """The variables that a job gets from its site."""
        own = {"TMPDIR": self.scratch} if self.scratch else {}
        return {**self.environment, PATIENCE: str(self.collective_timeout_min), **own}

    @model_validator(mode="after")
    def _tables_are_whole(self) -> "Site":
        """Fill each table from the top, and refuse what only a whole table shows."""
        own = {kind: self.granted(kind).model_fields_set for kind in KINDS}
        tables = {kind: self.granted(kind).over(self) for kind in KINDS}
        vars(self).update(tables)
        gpus = {
            name: kind
            for kind in KINDS
            if tables[kind].num_gpus
            for name in _names(tables[kind].partition)
        }
        for kind, table in tables.items():
            if self.cluster == "local" and table.nodes > 1:
                raise ValueError(
                    f"{kind}.nodes = {table.nodes}: a local site is one machine; use tasks_per_node"
                )
            if not table.num_gpus and (table.cpus_per_gpu or table.mem_per_gpu):
                raise ValueError(f"{kind}: asks for cores or memory of GPUs, but for no GPU")
            shared = _names(table.partition) & gpus.keys()
            if not table.num_gpus and shared and "partition" not in own[kind]:
                name = min(shared)
                raise ValueError(
                    f"{kind}: asks for no GPU, but would go to {name}, from which {gpus[name]} has"
                    f" GPUs; say partition in [{kind}] too, also if {name} is meant"
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
        return {kind: Device("GPU" if self.granted(kind).num_gpus else "core") for kind in KINDS}

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
            words += f", {resources.num_gpus} GPUs a node" if resources.num_gpus else ""
            words += f", an array of {resources.array}" if resources.array > 1 else ""
            texts[kind] = f"{words}, {resources.timeout_min} min"
        return texts


def _names(partition: str | None) -> set[str]:
    return {name for name in (partition or "").split(",") if name}


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
    hint = did_you_mean(key.removeprefix("slurm_"), valid) or f"; valid keys: {', '.join(valid)}"
    return f"unknown key {'.'.join((*table, key))}{hint}"
