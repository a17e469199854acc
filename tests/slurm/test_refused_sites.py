"""Sites as people have them, each on a real cluster: the demo's first stage runs there,
and SLURM knows what its jobs ask for.
"""

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.configs.experiment import load_study
from slurm.cluster import Cluster
from slurm.cluster_folder import user
from slurm.launch import launch
from slurm.ledger import entries, find, order_name
from slurm.site import Site
from tests.slurm.conftest import running_cluster
from tests.slurm.submitted import until

# the nodes pretend to have GPUs and discs
CONF = """\
GresTypes=gpu,nvme
Licenses=matlab:2
NodeName=DEFAULT Gres=gpu:a100:4,nvme:1 Feature=a100,v100,ib
PartitionName=main Nodes=ALL Default=YES
PartitionName=gpu Nodes=ALL
PartitionName=preempt Nodes=ALL
PartitionName=cpu Nodes=ALL
"""
GRES = "Name=gpu Type=a100 File={folder}/gpu[0-3]\nName=nvme Count=1\n"
RESERVATION = (
    f"scontrol create reservation reservationname=course users={user()} starttime=now"
    " duration=60 nodes=127.0.0.13"
)
SITES = {
    "typed GPUs": """
        partition = "gpu"
        gpus_per_node = "a100:1"
        cpus_per_gpu = 1
        mem_per_gpu = "500M"
    """,
    "generic resources": """
        partition = "gpu"
        gres = "gpu:a100:4,nvme:1"
    """,
    "a reservation, and other options": """
        reservation = "course"
        licenses = "matlab:1"
        comment = "a lesson; #2 of $(id)"
        nice = 7
        mail_type = "NONE"
        sbatch.contiguous = true
        sbatch.switches = "1@5"
        srun = ["--kill-on-bad-exit=1", "--label"]
    """,
    "memory for each core": """
        mem_per_cpu = "500M"
    """,
    "two partitions, and a feature expression": """
        partition = "cpu,preempt"
        constraint = "a100&ib"
    """,
    "node lists": """
        nodelist = "127.0.0.14"
        exclude = "127.0.0.[11-12],127.0.0.15"
    """,
    "an account of a kind of GPU": """
        account = "proj@v100"
    """,
    "stages without GPUs on a partition without": """
        partition = "cpu"
        [train]
        partition = "gpu"
        gpus_per_node = "a100:1"
        constraint = "a100|v100"
        mem_per_gpu = "1G"
    """,
    "a container": """
        python = "FOLDER/apptainer exec --nv 'my image.sif' python3"
        setup = ["export IN_BATCH=yes"]
    """,
}
ASKED = {  # of the first stage, and of a training
    "typed GPUs": ("MemPerTres=gres:gpu:500 TresPerNode=gres:gpu:a100:1",) * 2,
    "generic resources": ("TresPerNode=gres:gpu:a100:4,gres:nvme:1",) * 2,
    "a reservation, and other options": (
        "Nice=7 .*NodeList=127.0.0.13 .*Contiguous=1 Licenses=matlab:1 "
        r".*Comment=a lesson; #2 of \$\(id\)",
        "Nice=7 ",
    ),
    "memory for each core": ("MinMemoryCPU=500M", "MinMemoryCPU=500M"),
    "two partitions, and a feature expression": (
        "Partition=(cpu|preempt) .*Features=a100&ib",
        "Features=a100&ib",
    ),
    "node lists": (
        r"ReqNodeList=127.0.0.14 ExcNodeList=127.0.0.\[11-12,15\] NodeList=127.0.0.14 ",
        "ReqNodeList=127.0.0.14 ",
    ),
    "an account of a kind of GPU": ("Account=proj@v100 ", "Account=proj@v100 "),
    "stages without GPUs on a partition without": (
        r"Partition=cpu ((?!gpu).)*$",
        r"Partition=gpu .*Features=a100\|v100 .*TresPerNode=gres:gpu:a100:1",
    ),
    "a container": ("Partition=main", "Partition=main"),
}
APPTAINER = """\
#!/bin/sh
[ "$IN_BATCH $1 $2 $3 $4" = "yes exec --nv my image.sif python3" ] || exit 1
shift 4
exec {python} "$@"
"""
STUDY = load_study(Path("experiments/demo.py"), ["--members", "1"])
FIRST = STUDY.stages[0]


@pytest.fixture(scope="module")
def pretender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose nodes pretend to have GPUs."""
    folder = tmp_path_factory.mktemp("gpus")
    for number in range(4):
        (folder / f"gpu{number}").touch()
    with running_cluster(8, CONF, GRES.format(folder=folder)) as cluster:
        assert cluster.run(*RESERVATION.split()).returncode == 0
        yield cluster


@pytest.fixture(scope="module")
def roots(pretender: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo, submitted to all sites at once. Its later stages are cancelled, which
    SLURM remembers.
    """
    folder = tmp_path_factory.mktemp("bin")
    (folder / "apptainer").write_text(APPTAINER.format(python=sys.executable))
    (folder / "apptainer").chmod(0o755)
    roots = {}
    for number, (name, text) in enumerate(SITES.items()):
        table = tomllib.loads(text.replace("FOLDER", str(folder)))
        site = Site.model_validate({"cluster": "slurm"} | table)
        roots[name] = tmp_path_factory.mktemp(f"root{number}")
        with patch.dict(os.environ):
            launch(STUDY, STUDY.stages, roots[name], site)
        known = {entry.name: entry.job_id for entry in entries(STUDY, roots[name])}
        del known[order_name(FIRST)]
        pretender.run("scancel", *known.values())
    return roots


@pytest.mark.slow  # nine jobs on two cores
@pytest.mark.parametrize("name", SITES)
def test_the_first_stage_runs(name: str, pretender: Cluster, roots: dict[str, Path]) -> None:
    root = roots[name]
    until(lambda: FIRST.is_complete(root))
    for config, asked in zip((FIRST, STUDY.stages[1]), ASKED[name], strict=True):
        entry = find(root, order_name(config))
        assert entry is not None
        shown = pretender.run("scontrol", "--oneliner", "show", "job", entry.job_id).stdout
        assert re.search(asked, shown), shown
        script = pretender.run("scontrol", "write", "batch_script", entry.job_id, "-").stdout
        assert script.startswith("#!/bin/bash")
        assert "wckey" not in script
