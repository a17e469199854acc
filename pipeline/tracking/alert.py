"""W&B's alert that a study is done or has failed, for users who ask for it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.configs.study import Study
from pipeline.errors import StageEnded, first_line
from pipeline.tracking import page as pages
from pipeline.tracking.sync import is_reachable, server

ASKED = "GOING_DEEPER_ALERT"  # jobs inherit it
MOST_TITLE = 63  # W&B's own limit


@contextmanager
def alerts(study: Study, root: Path) -> Iterator[None]:
    """Send an alert at the end of the block, which makes a study.

    A signal that ends the block is no failure: the same command goes on.
    """
    try:
        yield
    except StageEnded:
        raise
    except Exception as error:
        alert(study, root, first_line(error))
        raise
    alert(study, root)


def alert(study: Study, root: Path, problem: str = "") -> None:
    """Send W&B an alert that a study is done, or has failed with a problem.

    Nothing is sent unless GOING_DEEPER_ALERT is set. Whatever happens, the study goes
    on; a line says why nothing was sent.
    """
    if os.environ.get(ASKED, "0") in ("", "0"):
        return
    try:
        _send(study, root, problem)
    except Exception as error:  # whatever happens to the alert, the files are complete
        print(f"no W&B alert ({type(error).__name__}: {error})", file=sys.stderr, flush=True)


def _send(study: Study, root: Path, problem: str) -> None:
    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "disabled"):
        raise ConnectionError(f"WANDB_MODE={mode}")
    if not is_reachable():
        raise ConnectionError(f"{server()} does not answer")
    from pipeline.tracking.mirror import Mirror  # late, as this imports Pillow and wandb

    mirror = Mirror(pages.new_page(study), root)
    title = f"{study.name} {'has failed' if problem else 'is done'}"
    mirror.alert(title[-MOST_TITLE:], problem or str(root / study.folder), bool(problem))
    mirror.close(1 if problem else 0)
