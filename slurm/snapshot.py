"""A job runs a copy of the code at its submission, named by its digest."""

import os
import shlex
import sys
import uuid
from importlib import resources
from pathlib import Path

from pipeline.artefacts import provenance
from pipeline.artefacts.facts import Commit
from pipeline.runtime import disk
from pipeline.runtime.private import private_folder
from slurm import begin


def snapshot(root: Path) -> Path:
    """Copy the code to `root`/jobs/code/<digest>, and return the folder.

    A copy that is there is compared with its digest. If it is damaged or has other
    files, it is set aside, and the code is copied again.

    Raises:
        InputError: others can write to the folder, or replace it.
    """
    files = provenance.sources()
    digest = provenance.digest_of_code(files)
    folder = private_folder(private_folder(root / "jobs") / "code") / digest
    if folder.is_dir() and _is_sound(folder, digest):
        return folder
    with disk.beside(folder, sum(map(len, files.values()))) as partial:
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        disk.write_json(
            partial / provenance.COMMIT_FILE, {**provenance.commit().plain(), "code": digest}
        )
        if folder.is_symlink() or folder.exists():
            aside = folder.with_name(f".{digest}.damaged.{uuid.uuid4().hex}")
            folder.rename(aside)
            print(
                f"going-deeper: {folder}: is not what its digest says; it is now {aside.name}, and"
                " the code is copied again",
                file=sys.stderr,
                flush=True,
            )
        try:
            disk.rename(partial, folder)
        except OSError:
            if not folder.is_dir():  # else another submission was first
                raise
    return folder


def _is_sound(folder: Path, digest: str) -> bool:
    """Return whether a copy has the files of its digest, and no others."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if folder.is_symlink() or any(path.is_symlink() for path in paths):
        return False
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    try:
        commit = Commit.load(files.pop(provenance.COMMIT_FILE, b""))
    except ValueError:
        return False
    return commit.code == digest == provenance.digest_of_code(files)


def python(code: Path, umask: int, command: str | None = None) -> str:
    """Return the command of a job's Python, for submitit: this Python, or the words of
    a site's command, which may be one in a container.

    It compares the copy of the code with its digest before it imports from there. Files
    get the permissions of `umask`.
    """
    text = resources.files("slurm").joinpath("begin.py").read_text()
    words = [str(code), begin.digest_of(str(code)), f"{umask:03o}"]
    interpreter = [sys.executable] if command is None else shlex.split(command)
    return shlex.join([*interpreter, "-I", "-S", "-c", text, *words])


def code_environment(code: Path) -> dict[str, str]:
    """Return the variables with which a job's Python imports the copy.

    It does so even if it starts in the folder of the original. It writes nothing into
    the copy, so that the digest stays.
    """
    earlier = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {
        "PYTHONPATH": os.pathsep.join([str(code), *earlier]),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
