"""The base of all files of facts, and their provenance: code, process, machine."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """The base of all facts: immutable, of exact types; unknown fields are errors.
    Numbers may be NaN or infinite.
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
        """Read facts from JSON.

        Raises:
            pydantic.ValidationError: a field is missing, unknown or of a wrong type.
        """
        return cls.model_validate_json(content)


class Commit(Facts):
    """The code that ran. `code` is the digest of the code, where jobs run a copy or no
    commit names it.
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
    environment: dict[str, str] | None = None  # what of it may move last bits


class Sealed(Facts):
    """The content that every last file has. `digest` is the digest of `files`; `inputs`
    are the digests of the artefacts that it was made from.
    """

    stage: str
    hash: str
    digest: str
    files: dict[str, str]
    inputs: dict[str, str]
    config: dict[str, Any]
    provenance: Provenance


class Holder(Facts):
    """Who makes an artefact: a process, its host, its SLURM job if any. The file that
    it is read from holds more.
    """

    model_config = ConfigDict(extra="ignore")

    process: int
    host: str
    job: str | None

    @property
    def words(self) -> str:
        """Describe the holder for people."""
        job = f", job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"
