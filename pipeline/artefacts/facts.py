"""What all files of facts have in common, and where they come from: code, process,
machine.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """What is written and read: immutable, of exact types, and unknown fields are
    errors. Numbers may be NaN or infinite.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,  # most commands read few files
    )

    def plain(self) -> dict[str, Any]:
        """As plain values for JSON, without fields at their default."""
        return self.model_dump(exclude_defaults=True, by_alias=True)

    @classmethod
    def load(cls, content: bytes | str) -> Self:
        """From JSON.

        Raises:
            pydantic.ValidationError: a field is missing, unknown or of a wrong type.
        """
        return cls.model_validate_json(content)


class Commit(Facts):
    """The code that ran. `code` is its digest, of a copy that jobs run or
    where no commit tells."""

    commit: str
    dirty: bool
    code: str | None = None


class Provenance(Commit):
    """Where an artefact comes from."""

    command: str
    python: str
    versions: dict[str, str]
    host: str
    machine: str
    finished_at: str
    environment: dict[str, str] | None = None  # what of it may move last bits


class Sealed(Facts):
    """What every last file holds. `digest` is that of `files`, `inputs` are the digests
    of what it was made from.
    """

    stage: str
    hash: str
    digest: str
    files: dict[str, str]
    inputs: dict[str, str]
    config: dict[str, Any]
    provenance: Provenance


class Holder(Facts):
    """Who makes an artefact: a process, its host, its SLURM job if any. It is read from
    files that hold more.
    """

    model_config = ConfigDict(extra="ignore")

    process: int
    host: str
    job: str | None

    @property
    def words(self) -> str:
        """For people."""
        job = f", job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"
