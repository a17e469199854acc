"""A folder that takes the self-test to a machine with PyTorch but without this package.

It holds our packages, and the small ones that such a machine may lack, for its Python,
on Linux with x86-64.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from pipeline.artefacts import provenance
from pipeline.errors import InputError, StageFailed, last_line
from pipeline.runtime import disk

# what the self-test imports and a machine with PyTorch may lack; all are small
CARRIED = (
    "annotated-types",
    "click",
    "cloudpickle",
    "jinja2",
    "joblib",
    "markupsafe",
    "narwhals",
    "pydantic",
    "pydantic-core",
    "scikit-learn",
    "simplejpeg",
    "threadpoolctl",
    "tqdm",
    "typing-extensions",
    "typing-inspection",
)
# a wheel names the oldest glibc that it runs on; pip compares names, not ages
PLATFORMS = (*(f"manylinux_2_{n}_x86_64" for n in (28, 27, 17, 5)), "manylinux2014_x86_64")
CODE, PACKAGES, START = "code", "packages", "selftest.py"
STARTER = '''\
"""Test this machine: python selftest.py --device cuda"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "code"), str(HERE / "packages")]

if __name__ == "__main__":
    from pipeline.commands.main import main

    sys.argv.insert(1, "selftest")
    main()
'''


def carry_to(folder: Path, python: str) -> str:
    """Write the folder, and say how to start it there.

    Raises:
        InputError: the folder exists.
        StageFailed: pip finds no wheel of a package for that Python.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists; --carry takes a new folder")
    folder = folder.absolute()
    with disk.beside(folder) as partial:
        (partial / PACKAGES).mkdir(parents=True)
        for wheel in _wheels(partial / "wheels", python):
            with zipfile.ZipFile(wheel) as archive:
                needed = [name for name in archive.namelist() if "/tests/" not in name]
                archive.extractall(partial / PACKAGES, needed)
        shutil.rmtree(partial / "wheels")
        files = provenance.sources()
        for name, content in files.items():
            path = partial / CODE / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        commit = {**provenance.commit().plain(), "code": provenance.digest_of_code(files)}
        disk.write_json(partial / CODE / provenance.COMMIT_FILE, commit)
        (partial / START).write_text(STARTER)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        disk.rename(partial, folder)
    return (
        f"{folder}: {size / 1e6:.0f} MB for Python {python} on Linux, x86-64\n"
        f"there: python {folder.name}/{START} --device cuda"
    )


def _wheels(folder: Path, python: str) -> list[Path]:
    """Download the wheels for a Python, in the versions that are installed here."""
    wanted = [f"{name}=={metadata.version(name)}" for name in CARRIED]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    with tempfile.TemporaryDirectory() as elsewhere:  # pip would see our folders as packages
        ended = subprocess.run(
            [*command, "--dest", str(folder), *wanted],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        raise StageFailed(f"pip download: {last_line(RuntimeError(ended.stderr))}")
    return sorted(folder.glob("*.whl"))
