"""What all files of facts have in common, and their origin: code, process, machine."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """The model of a file that is written and read.

    It is immutable and its types are exact; unknown fields are errors. Numbers may be
    NaN or infinite.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,  # most commands read few files
    )

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON, without fields at their default."""
        return self.model_dump(exclude_defaults=True, by_alias=True)

    @classmethod
    def load(cls, content: bytes | str) -> Self:
        """Return the model of a JSON text.

        Raises:
            pydantic.ValidationError: a field is missing, unknown or of a wrong type.
        """
        return cls.model_validate_json(content)


class Commit(Facts):
    """The code that ran.

    `code` is its digest, where a job runs a copy or no commit names the code.
    """

    commit: str
    dirty: bool
    code: str | None = None


class Provenance(Commit):
    """The origin of an artefact."""

    command: str
    python: str
    versions: dict[str, str]
    host: str
    machine: str
    finished_at: str
    environment: dict[str, str] | None = None  # variables that may change last bits


class Sealed(Facts):
    """What the last file of every artefact holds.

    `digest` covers `files`; `inputs` are the digests of the artefacts that this one
    was made from. `timed` are files with times of day: they have digests, but equal
    artefacts differ in them. `seal` is the digest of all else in the file.
    """

    stage: str
    hash: str
    digest: str
    files: dict[str, str]
    inputs: dict[str, str]
    timed: dict[str, str] = {}
    seal: str
    config: dict[str, Any]
    provenance: Provenance


class Holder(Facts):
    """Who makes an artefact: a process, its host, and its SLURM job if any.

    It is read from files that hold more, so unknown fields are no errors.
    """

    model_config = ConfigDict(extra="ignore")

    process: int
    host: str
    job: str | None

    @property
    def words(self) -> str:
        """The holder in words, for messages."""
        job = f", job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"
