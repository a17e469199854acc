"""The command that writes the pages of a study on W&B: dashboard."""

from pathlib import Path

from pipeline.commands.arguments import study_command
from pipeline.configs.study import Study
from pipeline.runtime.extras import require


@study_command("going-deeper dashboard demo")
def dashboard(study: Study, root: Path) -> None:
    """Create or update a study's workspace and report on W&B: gap to the paper,
    verdicts, curves, crops, mistakes.
    """
    require("dashboard", "wandb_workspaces")
    from pipeline.tools.dashboard import save_dashboard

    print("\n".join(save_dashboard(study, root)))
