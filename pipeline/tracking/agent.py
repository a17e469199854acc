"""An agent of a W&B sweep, under which no run has the id that its artefact keeps."""

from collections.abc import Mapping

from pipeline.errors import InputError

AGENT = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


def refuse_agent(environment: Mapping[str, str]) -> None:
    """Refuse an agent of a W&B sweep, whose id would replace that of every stage's run.

    Raises:
        InputError: the environment is an agent's, and tracking is not disabled.
    """
    names = [name for name in AGENT if environment.get(name)]
    if names and environment.get("WANDB_MODE") != "disabled":
        raise InputError(
            f"{names[0]} is set: a W&B sweep agent gives the runs of all stages its own id; use"
            f" going-deeper sweep, and unset {' '.join(AGENT)}"
        )
