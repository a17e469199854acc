"""The command as a user runs it, in a process of its own, and a study for it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TOP = Path(__file__).parents[1]
EXPERIMENT = '''
"""A study of two members on a folder of images.

Run:     going-deeper run
Expect:  nothing
Cost:    seconds
Differs: in everything
"""
from pathlib import Path
from pipeline.study import *

def experiment(data: Path | None = None, members: int = 2, epochs: float = 4) -> Study:
    images = PrepareConfig(source="imagefolder", name="colours", path=data)
    base = TrainConfig(data=images, network=NetworkConfig(input_size=42, width=0.125), num_epochs=epochs, global_batch_size=8,
                       clip_norm=1.0, checkpoint_every_seconds=0)
    runs = [base.but(data_seed=seed) for seed in range(members)]
    evaluated = tuple(EvaluateConfig(data=images, classifier=run) for run in runs)
    return Study(name="tiny", title="A tiny study", check=CheckConfig(results=table3(evaluated)))
'''


def going_deeper(*arguments: object, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command; `environment` is added to that of the tests."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    more = os.environ | dict(environment or {})
    return subprocess.run(command, cwd=TOP, env=more, capture_output=True, text=True, check=False)
