"""Processes on another disk or clock: shim.c, built once, stands between them and the C
library.
"""

import platform
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


def build(folder: Path) -> Path:
    """Build the library, and return its path.

    It calls the kernel by numbers of x86-64, and so is for this kind of machine only.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "these tests need a C compiler (Debian: gcc)"
    assert platform.machine() == "x86_64"
    library = folder / "shim.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wno-nonnull-compare", "-o", str(library)]
    subprocess.run([compiler, *options, str(SOURCE), "-ldl"], check=True)
    return library


def variables(library: Path, **what: object) -> dict[str, str]:
    """Return the environment of a process with the shim; `what` is as in shim.c."""
    own = {f"SHIM_{name.upper()}": str(value) for name, value in what.items()}
    return {"LD_PRELOAD": str(library), **own}
