"""The command that writes the pages of a study on W&B: dashboard."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.commands.arguments import study_command
from pipeline.configs.experiment import load_study


@study_command("going-deeper dashboard demo")
def dashboard(experiment: Path, arguments: Sequence[str], root: Path) -> None:
    """Create or update a study's workspace and report on W&B: gap to the paper,
    verdicts, curves, crops, mistakes.
    """
    from pipeline.tools.dashboard import save_dashboard

    print("\n".join(save_dashboard(load_study(experiment, arguments), root)))
