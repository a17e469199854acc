"""The command as a user runs it, in a process of its own or in this one, and a study
for it.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from pipeline.commands.main import main
from pipeline.runtime.environment import COMMAND

TOP = Path(__file__).parents[1]
EXPERIMENT = '''
"""A study of two members on a folder of images.

Run:     going-deeper run
Expect:  nothing
Cost:    seconds
Differs: in everything
"""
from pathlib import Path
from typing import NamedTuple
from pipeline.configs import *

def experiment(data: Path | None = None, members: int = 2, epochs: float = 4) -> Study:
    images = PrepareConfig(source="imagefolder", name="colours", path=data)
    network = NetworkConfig(input_size=42, width=0.125)
    base = TrainConfig(data=images, network=network, num_epochs=epochs,
                       global_batch_size=8, clip_norm=1.0, checkpoint_every_seconds=0)
    runs = [base.but(data_seed=seed) for seed in range(members)]
    evaluated = tuple(EvaluateConfig(data=images, classifier=run) for run in runs)
    return Study(name="tiny", title="A tiny study", check=CheckConfig(results=table3(evaluated)))
'''


class Finished(NamedTuple):
    """The study of `EXPERIMENT`, finished by the command on two ranks: to be copied,
    never written to.
    """

    experiment: Path
    data: Path
    root: Path
    said: "subprocess.CompletedProcess[str]"

    def copy(self, folder: Path) -> Path:
        """Copy the root into a folder of the test's own."""
        return Path(shutil.copytree(self.root, folder / "root", symlinks=True))


def going_deeper(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, with `environment` added to that of the
    tests. What ranks print is in `stderr` too.
    """
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    more = os.environ | dict(environment or {})
    return subprocess.run(command, cwd=TOP, env=more, capture_output=True, text=True, check=False)


def in_process(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the command in this process, which has imported everything. It is for
    commands that start no rank, or end before.
    """
    words, before, code = list(map(str, arguments)), dict(os.environ), 0
    with (
        contextlib.chdir(TOP),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        arguments_before, sys.argv = sys.argv, ["going-deeper", *words]
        os.environ.pop(COMMAND, None)
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.argv = arguments_before
            os.environ.clear()
            os.environ.update(before)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def contents(root: Path) -> dict[Path, str]:
    """Return what a study came to, as digests: weights, probabilities, hits. (A failed
    comparison of the bytes themselves would keep pytest busy for minutes.)
    """
    patterns = (
        "runs/*/final/*.safetensors",
        "predictions/*/*.safetensors",
        "results/*/hits.parquet",
    )
    return {
        path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in root.glob(pattern)
    }
