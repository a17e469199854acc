"""Send W&B's server what it lacks, from the files of the artefacts."""

import os
import socket
from pathlib import Path

from pipeline.tracking.page import Page


def server() -> str:
    """Return the address of the user's W&B."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def is_reachable() -> bool:
    """Return whether the server accepts a connection.

    wandb's own client would try for many minutes.
    """
    host, _, port = server().split("://")[-1].rstrip("/").partition(":")
    try:
        with socket.create_connection(
            (host, int(port or (80 if server().startswith("http:") else 443))), timeout=5
        ):
            return True
    except (OSError, ValueError):
        return False


def upload(page: Page, root: Path) -> str:
    """Send what the server lacks of an artefact.

    Return the reason in one line if that fails, or an empty text.
    """
    # late, as this imports Pillow and wandb
    from pipeline.tracking.mirror import Mirror

    try:
        Mirror(page, root).finish()
    # wandb raises nearly any error of the connection; the next sync goes on
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""
