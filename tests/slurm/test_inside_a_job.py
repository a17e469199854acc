"""Whoever submits from inside a job gets the jobs of the site file, whatever that job
asked for itself. Real jobs, which load nothing.
"""

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import variables
from slurm.cluster import Cluster
from tests.commands import TOP
from tests.slurm.conftest import running_cluster
from tests.slurm.submitted import until

MEMORY = ("--mem=200", "--mem-per-cpu=150", "--mem-per-gpu=120")
# asks the parent, in its own way, for more than a child's script does
PARENT = "--ntasks=1 --cpus-per-task=1 --gpus=1 --gpus-per-task=1 --time=5"
PARENTS = [*itertools.product(("sbatch", "srun", "salloc"), MEMORY)]
CHILDREN = {
    "nothing": [],
    "memory": ["--mem=100"],
    "memory for each core": ["--mem-per-cpu=100", "--cpus-per-task=1"],
    "memory for each GPU": ["--mem-per-gpu=100", "--gpus-per-node=2"],
    "cores for each GPU": ["--gpus-per-node=1", "--cpus-per-gpu=1", "--mem=100"],
    "another type": ["--gpus-per-node=a100:1", "--ntasks-per-node=1", "--mem=100"],
}
SUBMIT = """
import sys
from pathlib import Path
from slurm.sbatch import Sbatch
for script in sorted(Path(sys.argv[1]).glob("*.sh")):
    Sbatch(["sbatch", str(script)], verbose=False, kept=(), answers=[])()
"""
VARIABLES = "env | grep -E '^(SLURM|SBATCH|SRUN|CUDA)' | sort"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its nodes pretend to have GPUs."""
    folder = tmp_path_factory.mktemp("gpus")
    for number in range(4):
        (folder / f"gpu{number}").touch()
    lines = "GresTypes=gpu\nNodeName=DEFAULT Gres=gpu:a100:4"
    with running_cluster(8, lines, f"Name=gpu Type=a100 File={folder}/gpu[0-3]\n") as pretender:
        yield pretender


def write_children(folder: Path, name: str) -> None:
    """Write a script as submitit does, for each mixture of options."""
    folder.mkdir(exist_ok=True)
    for child, options in CHILDREN.items():
        label = f"{name} {child}".replace(" ", "_")
        lines = [f"#SBATCH {option}" for option in (*options, "--time=1", "--nodes=1")]
        lines += [f"#SBATCH --output={folder}/{label}.log"]
        run = (
            f"srun --unbuffered --cpus-per-task=1 bash -c \"{VARIABLES} > '{folder}/{label}.env'\""
        )
        (folder / f"{label}.sh").write_text("\n".join(["#!/bin/bash", *lines, run, ""]))


def test_no_option_of_the_parent_reaches_a_child(cluster: Cluster, tmp_path: Path) -> None:
    """Parents by sbatch, srun and salloc, with every style of memory, and children of
    every style: each child is like one that was submitted from outside.
    """
    command = [sys.executable, "-c", SUBMIT]
    write_children(tmp_path / "outside", "outside")
    outside = cluster.run(*command, str(tmp_path / "outside"))
    assert outside.returncode == 0, outside.stderr
    for number, (way, memory) in enumerate(PARENTS):
        folder = tmp_path / str(number)
        write_children(folder, f"{way} {memory.partition('=')[0].strip('-')}")
        script = [str(tmp_path / f"{number}.sh"), str(folder)]
        Path(script[0]).write_text(
            f"#!/bin/bash\ncd {TOP}\n{sys.executable} -c '{SUBMIT}' \"$1\" &> {folder}/said\n"
        )
        Path(script[0]).chmod(0o755)
        options = [*PARENT.split(), memory]
        parent = cluster.run(way, *options, *(["--wait"] if way == "sbatch" else []), *script)
        assert parent.returncode == 0, (parent.stderr, (folder / "said").read_text())
    wanted = len(CHILDREN) * (len(PARENTS) + 1)
    until(lambda: not cluster.run("squeue", "--noheader").stdout, 60)
    ends = {path.stem: path.read_text() for path in tmp_path.glob("*/*.env")}
    logs = {path.stem: text for path in tmp_path.glob("*/*.log") if (text := path.read_text())}
    assert (len(ends), logs) == (wanted, {})
    names = {
        label: {line.partition("=")[0] for line in text.splitlines()}
        for label, text in ends.items()
    }
    for label, seen in names.items():
        child = next(child for child in CHILDREN if label.endswith(f"_{child.replace(' ', '_')}"))
        assert seen == names[f"outside_{child.replace(' ', '_')}"], label


def test_without_that_a_child_dies_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """So the test above can fail."""
    write_children(tmp_path, "plain")
    child = tmp_path / "plain_memory.sh"
    options = ["--mem-per-cpu=150", "--time=1", f"--output={tmp_path}/parent"]
    cluster.run("sbatch", *options, f"--wrap=sbatch {child}")
    until(lambda: (tmp_path / "plain_memory.log").is_file(), 30)
    until(lambda: not cluster.run("squeue", "--noheader").stdout, 30)
    assert "mutually exclusive" in (tmp_path / "plain_memory.log").read_text()
    assert not (tmp_path / "plain_memory.env").exists()


def test_what_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the controller is, and who we are; from a login node, the devices too."""
    job = {"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0", "SBATCH_PARTITION": "debug"}
    stays = {"SLURM_CONF": "a", "SLURM_JWT": "b", "SLURM_CLUSTERS": "c", "CUDA_HOME": "d"}
    assert variables.of_login_node({**job, **stays}) == stays
    login = {"CUDA_VISIBLE_DEVICES": "0", "SQUEUE_FORMAT": "%i", "SBATCH_ACCOUNT": "mine"}
    assert variables.of_login_node(login, also=["SBATCH_ACCOUNT"]) == {
        "CUDA_VISIBLE_DEVICES": "0",
        "SBATCH_ACCOUNT": "mine",
    }
    for name in [name for name in os.environ if name.startswith(("SBATCH_", "SLURM_JOB"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SBATCH_TIMELIMIT", "1")
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    assert variables.set_aside() == ["SBATCH_TIMELIMIT"]
