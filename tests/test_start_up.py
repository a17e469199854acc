"""What the commands and the ranks may import: start-up is most of what a small study
waits for.
"""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from pipeline.commands.main import COMMANDS, commands
from pipeline.configs.train import TrainConfig
from tests.commands import TOP, Finished

pytestmark = pytest.mark.processes
HEAVY = {
    "numpy",
    "pyarrow",
    "torch",
    "torchvision",
    "accelerate",
    "scipy",
    "timm",
    "wandb",
    "altair",
    "datasets",
    "sklearn",
}
HEAVY |= {
    "PIL",
    "jinja2",
    "torch._dynamo",
    "torch._inductor",
    "onnx",
    "submitit",
    "pydantic",
    "tqdm",
}


def imported(*arguments: object) -> set[str]:
    """Return the heavy modules that a Python has at its end."""
    program = (
        "import atexit, sys; atexit.register(lambda: print('|' + ' '.join(sys.modules),"
        " file=sys.stderr)); "
    )
    program += (
        "import runpy; sys.argv[1:1] = []; runpy.run_module(sys.argv.pop(1), run_name='__main__',"
        " alter_sys=True)"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    ended = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr, ended.stderr
    return set(ended.stderr.rpartition("|")[2].split()) & HEAVY


LIGHT = {"pydantic", "submitit"}


def test_help_imports_click_alone() -> None:
    assert imported("pipeline", "--help") == set()


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_look_at_a_study_imports_next_to_nothing(command: str, tmp_path: Path) -> None:
    assert imported("pipeline", command, "experiments/demo.py", "--root", tmp_path) <= LIGHT


def test_no_help_and_no_completion_waits_for_libraries() -> None:
    """Every command's options are known without what the command itself will import."""
    program = "import sys; from pipeline.commands.main import COMMANDS, commands\n"
    program += (
        "for name in COMMANDS: commands.get_command(None, name)\nprint(' '.join(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout
    assert set(output.split()) & HEAVY <= LIGHT


EFFECTS = """
import os
from importlib import import_module
from pkgutil import walk_packages
import sklearn, torch._inductor  # set variables of their own
from PIL import Image
from tqdm import tqdm
import pipeline, slurm
before, limit, lock = dict(os.environ), Image.MAX_IMAGE_PIXELS, getattr(tqdm, "_lock", None)
os.register_at_fork = lambda **hooks: [print(hook) for hook in hooks.values()]
for package in (pipeline, slurm):
    for module in walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
print({name: value for name, value in os.environ.items() if before.get(name) != value})
print((Image.MAX_IMAGE_PIXELS, getattr(tqdm, "_lock", None)) == (limit, lock))
"""


def test_an_import_changes_nothing_outside() -> None:
    """It changes neither the environment, nor limits and locks of others, nor what
    forks do.
    """
    ended = subprocess.run(
        [sys.executable, "-c", EFFECTS], cwd=TOP, capture_output=True, text=True, check=True
    )
    hooks = [line for line in ended.stdout.splitlines() if "_forget" in line]
    assert (ended.stdout.splitlines()[-2:], hooks) == (["{}", "True"], [])


def test_a_report_needs_no_torch(finished: Finished, tmp_path: Path) -> None:
    """publish and recount need none either."""
    root = finished.copy(tmp_path)
    for command, *more in (["report"], ["publish", "--to", tmp_path / "kept"], ["recount"]):
        modules = imported("pipeline", command, finished.experiment, "--root", root, *more)
        assert "pyarrow" in modules
        assert not modules & {
            "torch",
            "torchvision",
            "accelerate",
            "timm",
            "wandb",
            "datasets",
            "sklearn",
            "onnx",
        }


RANK = """
import os, sys
from pathlib import Path
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from pipeline.configs.train import TrainConfig
config, root = TrainConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
prepare(config.data, root, processes=1)
before = set(sys.modules)
train(config, root)
print(" ".join(before), "|", " ".join(sys.modules))
"""


@pytest.mark.slow  # a whole training, in a Python of its own
def test_a_training_rank_imports_no_more_than_it_needs(
    run_config: TrainConfig, tmp_path: Path
) -> None:
    """Beside torch and accelerate it imports nothing that takes long; scipy and jinja2
    come at the end, for the model card.
    """
    command = [sys.executable, "-c", RANK, run_config.model_dump_json(), str(tmp_path)]
    ended = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    before, _, after = (set(part.split()) & HEAVY for part in ended.stdout.rpartition("|"))
    assert before == {
        "numpy",
        "pyarrow",
        "torch",
        "torch._dynamo",
        "torch._inductor",
        "accelerate",
        "PIL",
        "pydantic",
        "tqdm",
    }
    assert after - before <= {"scipy", "jinja2"}


def test_the_table_of_commands_is_true() -> None:
    """Each command lies where the table says, and its own help begins with its line
    there.
    """
    for name, (_, line) in COMMANDS.items():
        command = commands.get_command(click.Context(commands), name)
        assert command is not None
        assert command.name == name
        text = " ".join((command.help or "").split())
        assert text.startswith(line.rstrip(".")), name
