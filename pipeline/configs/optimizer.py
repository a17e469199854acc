"""The optimiser of a training, and ranks that each use one of their own."""

from typing import Literal

from pydantic import Field

from pipeline.configs.base import Frozen
from pipeline.configs.other_network import Arguments

# ours: the most of what is counted; more is a slip of the hand, and would run for ever
MOST_STEPS, MOST_WORKERS = 10**9, 10_000
OPTIMIZER = r"^(sgd|lars|timm:[a-z0-9_]{1,64})$"


class LocalSGDConfig(Frozen):
    """Ranks that train on their own and average their weights every `steps` steps:
    today's stand-in for the paper's asynchronous SGD (section 6). The number of
    `workers` is science here, as each sees its own share of every batch.
    """

    workers: int = Field(ge=2, le=MOST_WORKERS)
    """Number of ranks that train on their own."""
    steps: int = Field(ge=1, le=MOST_STEPS)
    """Steps between two averages of their weights."""


def refuse_contradictions(
    optimizer: str,
    arguments: Arguments,
    momentum_form: Literal["gradient", "velocity"],
    local_sgd: LocalSGDConfig | None,
) -> None:
    """Raise ValueError if an optimiser does not have what is asked of it."""
    if optimizer != "sgd" and momentum_form != "gradient":
        raise ValueError(
            f"momentum_form {momentum_form}: is of optimizer sgd; {optimizer} has gradient only"
        )
    is_timms = optimizer.startswith("timm:")
    if is_timms and local_sgd:
        raise ValueError(
            f"optimizer {optimizer} with local_sgd, which averages a momentum: expected sgd or lars"
        )
    if arguments and not is_timms:
        raise ValueError(f"optimizer_arguments of optimizer {optimizer}: only timm:NAME takes some")
