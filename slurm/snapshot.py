"""A job runs a copy of the code at its submission, named by its digest."""

import os
import shutil
import uuid
from pathlib import Path

from pipeline.artefacts import provenance
from pipeline.runtime import disk


def snapshot(root: Path) -> Path:
    """Copy the code to `root`/jobs/code/<digest>, unless that folder exists.

    Return the folder, for PYTHONPATH.
    """
    files = provenance.sources()
    digest = provenance.digest_of_code(files)
    folder = disk.private_folder(root / "jobs" / "code") / digest
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{digest}.{uuid.uuid4().hex}")
    for name, content in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)
    disk.write_json(
        partial / provenance.COMMIT_FILE, {**provenance.commit().plain(), "code": digest}
    )
    try:
        disk.rename(partial, folder)
    except OSError:  # another submission was first
        shutil.rmtree(partial)
    return folder


def code_environment(code: Path) -> dict[str, str]:
    """Return the variables with which a job's Python imports the copy.

    It does so even if it starts in the folder of the original.
    """
    earlier = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {"PYTHONPATH": os.pathsep.join([str(code), *earlier]), "PYTHONSAFEPATH": "1"}
