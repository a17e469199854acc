"""A site file: what a cluster grants each kind of stage. Data, validated; its fields
keep submitit's names.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from pipeline.configs.base import Frozen
from pipeline.configs.experiment import one_line
from pipeline.errors import InputError
from pipeline.runtime.device import Device

KINDS = ("prepare", "train", "evaluate", "report")  # of jobs, each with a table of its own

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
# no line may smuggle in another
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]


class Resources(Frozen):
    """What one job gets. Ranks of the job: nodes x tasks_per_node. `array`: jobs that
    share the images of a preparation or an evaluation.
    """

    nodes: int = Field(default=1, ge=1)
    tasks_per_node: int = Field(default=1, ge=1)
    cpus_per_task: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=0, ge=0)
    mem_gb: float | None = Field(default=None, gt=0)
    timeout_min: int = Field(default=60, ge=1)
    array: int = Field(default=1, ge=1, le=10_000)


class Site(Frozen):
    """Where jobs run: `local` (processes of this machine) or `slurm`, and the resources
    of each kind of job.

    `report` is the one job that ensembles, checks and reports. A job that reaches its
    time limit saves and goes on as another, at most `max_timeouts` times. One that
    fails for a passing cause (disk, network, a lost rank) is tried again, at most
    `max_retries` times; one whose node dies, at most `max_node_failures` times, and a
    node on which jobs died twice in a week gets no new ones. `scratch` becomes TMPDIR.
    `slurm_array_parallelism` bounds how many jobs of an array run.
    """

    cluster: Literal["local", "slurm"]
    slurm_partition: Name | None = None
    slurm_account: Name | None = None
    slurm_qos: Name | None = None
    slurm_constraint: Name | None = None
    slurm_setup: tuple[Line, ...] = ()
    slurm_exclude: Name | None = None
    slurm_array_parallelism: int = Field(default=256, ge=1)
    slurm_signal_delay_s: int = Field(default=90, ge=1)
    environment: dict[Variable, Line] = {}  # noqa: RUF012 (never changed)
    scratch: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/-]*$")] | None = None
    max_timeouts: int = Field(default=100, ge=0)
    max_retries: int = Field(default=3, ge=0)
    max_node_failures: int = Field(default=10, ge=0)
    prepare: Resources = Resources()
    train: Resources = Resources()
    evaluate: Resources = Resources()
    report: Resources = Resources()

    @model_validator(mode="after")
    def _is_one_machine(self) -> "Site":
        for kind in KINDS:
            if self.cluster == "local" and (nodes := self.granted(kind).nodes) > 1:
                raise ValueError(
                    f"{kind}.nodes = {nodes}: a local site is one machine; use tasks_per_node"
                )
        return self

    def granted(self, stage: str) -> Resources:
        """The resources of a kind of job."""
        granted: Resources = getattr(self, stage)
        return granted

    def num_ranks(self) -> dict[str, int]:
        """Ranks that share a stage, by kind of job."""
        kinds = {kind: self.granted(kind) for kind in KINDS}
        return {
            kind: found.nodes * found.tasks_per_node * found.array for kind, found in kinds.items()
        }

    def devices(self) -> dict[str, Device]:
        """What a rank computes on, by kind of job; a site does not say its model."""
        return {
            kind: Device("GPU" if self.granted(kind).gpus_per_node else "core") for kind in KINDS
        }

    @property
    def patience(self) -> dict[str, int]:
        """How often a job is tried again, by cause."""
        return {"max_retries": self.max_retries, "max_node_failures": self.max_node_failures}

    def in_words(self) -> dict[str, str]:
        """What each kind of job is granted, for people."""
        found = {}
        for kind in KINDS:
            granted = self.granted(kind)
            ranks = granted.nodes * granted.tasks_per_node
            words = (
                f"{ranks} rank{'s' if ranks > 1 else ''} on {granted.nodes}"
                f" node{'s' if granted.nodes > 1 else ''}"
            )
            words += f", {granted.gpus_per_node} GPUs a node" if granted.gpus_per_node else ""
            words += f", an array of {granted.array}" if granted.array > 1 else ""
            found[kind] = f"{words}, {granted.timeout_min} min"
        return found


def load_site(path: Path) -> Site:
    """Read a site file.

    Raises:
        InputError: no such file, not TOML, an unknown key (the nearest valid one is
            named) or a value out of range.
    """
    try:
        return Site.model_validate(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError):
        raise InputError(
            f"{path}: no such site file; expected one such as slurm/sites/local.toml"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {error}") from None
    except ValidationError as error:
        for item in error.errors():
            if item["type"] == "extra_forbidden":
                raise InputError(
                    f"{path}: {_unknown_key([str(part) for part in item['loc']])}"
                ) from None
        raise InputError(f"{path}: {one_line(error)}") from None


def _unknown_key(location: list[str]) -> str:
    *table, key = location
    valid = list((Resources if table and table[0] in KINDS else Site).model_fields)
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]}?" if near else f"valid keys: {', '.join(valid)}"
    return f"unknown key {'.'.join(location)}; {hint}"
