"""Base of all stage configs: how an artefact gets its name.

A config holds the configs of its inputs. Its hash covers the hashes of its inputs and
every field that changes the numbers. So the config alone gives the path of an artefact.
The hash leaves out resources (where data lies, how often to save) and fields at their
default: a new option orphans no artefact. Any change of code or of a default that moves
numbers raises `version`.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

MOST_MEMBERS = 1000  # ours: of an ensemble, or seeds of an arm
Count = Annotated[int, range(MOST_MEMBERS + 1)]  # an experiment's option: how many members or seeds


class Frozen(BaseModel):
    """An immutable value; an unknown field is an error.

    `resources` names the fields that change no number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    resources: ClassVar[frozenset[str]] = frozenset()

    def but(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields, validated like any config."""
        return type(self).model_validate({**dict(self), **changes})

    @property
    def science(self) -> str:
        """What the value means for numbers, as text: resources are left out."""
        return json.dumps(_chosen(self), sort_keys=True)


class StageConfig(Frozen):
    """Base of all stage configs.

    It says what a stage is, for all code that runs, submits, tracks or publishes it.
    """

    # The hash, once it is computed. It is a slot: every copy begins without it, and
    # fields, equality, pickles and dumps do not see it.
    __slots__ = ("_own_hash",)

    stage: ClassVar[str]  # the function of pipeline/stages/<stage>.py
    room: ClassVar[str]  # the folder of its artefacts
    last_file: ClassVar[str]  # is written last: the artefact is complete when it exists
    has_ranks: ClassVar[bool] = False  # ranks share its work
    has_parts: ClassVar[bool] = False  # an array of jobs may share it, by <stage>_part
    # has a job of its own on a site; the others run in the one that concludes
    has_job: ClassVar[bool] = False
    artifact_type: ClassVar[str]  # what W&B calls it
    scratch: ClassVar[tuple[str, ...]] = ()  # its folders that only its making needs
    kept: ClassVar[tuple[str, ...]] = ()  # its small files, from which figures are made again

    @property
    def hash(self) -> str:
        """The 16 hex digits that name the artefact; resources do not change them."""
        if not (own := getattr(self, "_own_hash", "")):
            own = self._compute_hash()
            object.__setattr__(self, "_own_hash", own)
        return own

    def _compute_hash(self) -> str:
        content = {"stage": self.stage, **_chosen(self)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where the artefact lies, relative to the root."""
        return Path(self.room) / self.hash

    @property
    def inputs(self) -> tuple["StageConfig", ...]:
        """The configs of the artefacts that this one is made from, each once."""
        inputs: dict[str, StageConfig] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, StageConfig):
                    inputs.setdefault(item.hash, item)
        return tuple(inputs.values())

    def is_complete(self, root: Path) -> bool:
        """Return whether the artefact exists under `root`, complete with its inputs."""
        is_there = (root / self.folder / self.last_file).is_file()
        return is_there and all(source.is_complete(root) for source in self.inputs)


def _chosen(model: Frozen) -> dict[str, Any]:
    """Return the fields of a config that are no resources and not at their default."""
    fields = type(model).model_fields
    values = {name: getattr(model, name) for name in fields if name not in model.resources}
    return {
        name: _plain(v)
        for name, v in values.items()
        if v != fields[name].default or name in ("version", "source")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, StageConfig):
        return value.hash
    if isinstance(value, Frozen):
        return _chosen(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def differences(
    chosen: Frozen, reference: Frozen | None = None, without: Collection[str] = ()
) -> Iterator[str]:
    """Yield each field in which a config differs from another of its kind, or from the
    defaults, as text for people.

    Inputs, resources and the fields in `without` are left out.
    """
    for name, field in type(chosen).model_fields.items():
        value = getattr(chosen, name)
        other = field.default if reference is None else getattr(reference, name)
        if (
            value == other
            or name in without
            or name in chosen.resources
            or isinstance(value, StageConfig)
        ):
            continue
        if isinstance(value, Frozen):
            yield from differences(value, other if isinstance(other, Frozen) else None, without)
        else:
            yield f"{name}={_spelled(value)}"


def _spelled(value: object) -> object:
    if isinstance(value, tuple):
        return "+".join(str(_spelled(item)) for item in value) or "none"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if is_number else value
