"""Which fields a config of one kind leaves to those of other kinds."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def is_of_others(
    own: type[BaseModel], field: str, value: Any, kinds: Mapping[str, type[BaseModel]]
) -> bool:
    """Return whether only other kinds have the field.

    At its default value it is ignored, as earlier versions wrote all fields of all
    kinds.

    Raises:
        ValueError: the field has another value than its default.
    """
    if field in own.model_fields:
        return False
    suits = {
        name: kind.model_fields[field].default
        for name, kind in kinds.items()
        if field in kind.model_fields
    }
    if suits and value is not None and value not in suits.values():
        name = own.model_fields["source"].default
        raise ValueError(f"{field} is for source {' or '.join(suits)}, not for {name}")
    return bool(suits)
