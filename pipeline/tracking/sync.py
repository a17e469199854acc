"""Sending to W&B what its server does not have yet, from the files of the artefacts."""

import os
import socket
from pathlib import Path

from pipeline.tracking.page import Page


def server() -> str:
    """The address of the user's W&B."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def is_reachable() -> bool:
    """Whether the server can be connected to; its own client would try for many
    minutes.
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
    """Send what is missing of an artefact; returns why it could not be, in one line, or
    nothing.
    """
    # late: pictures, and wandb
    from pipeline.tracking.mirror import Mirror

    try:
        Mirror(page, root).finish()
    # wandb's, of the connection: whatever it is, the next sync goes on
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""
