"""checkpoints/step_*/ of a run: the state after a step.

A damaged checkpoint is never loaded; an older one takes its place.
"""

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipeline.artefacts.facts import Facts
from pipeline.runtime import disk, remains

KEEP = 2  # ours: the newest may be damaged
# exceptions of reading a damaged note
DAMAGED = (OSError, ValueError)


class CheckpointNote(Facts):
    """The facts of a checkpoint: its training, its step, and its validation error if
    there is one.
    """

    run: str
    step: int
    error: float | None
    sha256: str


class SealedNote(CheckpointNote):
    """The file checkpoint.json."""

    note_sha256: str


class Checkpoints:
    """The checkpoints in a folder, of the training with the hash `run`.

    A checkpoint is whole when its note names the digest of its state. Its folder gets
    its name last.
    """

    def __init__(self, folder: Path, run: str = ""):
        self.folder, self.run = folder, run

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        error: float | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """Save the state after `step` steps, with its validation error if there is one.

        When this returns, the checkpoint outlives a power cut. The last two are kept,
        and the one of lowest error. `fence` is called before the checkpoint gets its
        name; it raises where this process may no longer write.
        """
        folder = self._at(step)
        if _whole_note(folder, self.run):
            return  # an earlier attempt saved the same bits
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        note = CheckpointNote(run=self.run, step=step, error=error, sha256=digest)
        with disk.beside(folder, len(content)) as partial:
            disk.write_atomic(partial / "state.pt", content)
            disk.write_json(
                partial / "checkpoint.json", {**note.plain(), "note_sha256": _digest(note)}
            )
            fence()
            if folder.exists():
                shutil.rmtree(folder)  # damaged
            disk.rename(partial, folder)
        self._prune(step)

    def newest(self) -> Path | None:
        """Return the newest whole checkpoint; print the name of each damaged one."""
        for folder in self._all():
            if _whole_note(folder, self.run):
                return folder
            print(
                f"{folder}: checkpoint is damaged, or another training's; trying the one before",
                file=sys.stderr,
            )
        return None

    def best(self) -> Path | None:
        """Return the whole checkpoint of lowest validation error.

        Where several have that error, return the earliest.
        """
        validated = []
        for folder in self._all():
            with suppress(*DAMAGED):
                note = read_note(folder)
                if note.error is not None:
                    validated.append((note.error, note.step, folder))
        in_order = (folder for *_, folder in sorted(validated))
        return next((folder for folder in in_order if _whole_note(folder, self.run)), None)

    def remove(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _at(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"

    def _all(self) -> list[Path]:
        """Return the folders of all checkpoints, the newest first."""
        return sorted(self.folder.glob("step_*"), reverse=True)

    def _prune(self, step: int) -> None:
        """Remove all checkpoints but the best and the last two up to `step`.

        Those after `step` are damaged: the training began again before them.
        """
        # a save that was killed may have left a folder that an old checkpoint needs now
        self._remove_remains()
        to_keep = {
            *[folder for folder in self._all() if folder <= self._at(step)][:KEEP],
            self.best(),
        }
        for old in self._all():
            if old not in to_keep:
                disk.rename(old, old.with_name(f".{old.name}"))  # so that a kill leaves no half
        self._remove_remains()

    def _remove_remains(self) -> None:
        for old in self.folder.glob(".step_*"):
            if not remains.MARK.fullmatch(old.name):  # else it is being saved
                shutil.rmtree(old)


def load(folder: Path) -> dict[str, Any]:
    """Return the state in a checkpoint's folder, on the CPU."""
    state: dict[str, Any] = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
    return state


def read_note(folder: Path) -> CheckpointNote:
    """Return the facts of a checkpoint; its error is None where it was not validated.

    Raises:
        OSError, ValueError: the note is damaged, or it is another step's.
    """
    sealed = SealedNote.load((folder / "checkpoint.json").read_bytes())
    note = CheckpointNote(
        run=sealed.run, step=sealed.step, error=sealed.error, sha256=sealed.sha256
    )
    if sealed.note_sha256 != _digest(note) or folder.name != f"step_{note.step:08d}":
        raise ValueError("damaged")
    return note


def _whole_note(folder: Path, run: str) -> CheckpointNote | None:
    try:
        note = read_note(folder)
        is_whole = note.run == run and note.sha256 == disk.sha256(folder / "state.pt")
        return note if is_whole else None
    except DAMAGED:
        return None


def _digest(note: CheckpointNote) -> str:
    return hashlib.sha256(json.dumps(note.plain(), sort_keys=True).encode()).hexdigest()
