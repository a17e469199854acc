"""No variable whose name says that it is a secret reaches a file, W&B's server, a job's
script, a log or a report: a canary in each, and all bytes are searched.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.runtime.environment import is_secret, without_secrets
from slurm.cluster import Cluster
from slurm.site import Site, load_site
from tests.commands import EXPERIMENT, going_deeper
from tests.faults.campaign import amount
from tests.slurm.conftest import running_cluster
from tests.slurm.submitted import Submitted, complete
from tests.wandb_stub import API_KEY, WandbStub

CANARY = "canary4f1c9e"
NAMES = (
    "SLURM_TOKEN",
    "SLURM_SPANK_SECRET",
    "MY_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "HF_TOKEN",
    "GITHUB_TOKEN",
    "X_PASSWORD",
    "DB_PASSWD",
    "MY_CREDENTIALS",
    "NCCL_AUTH",
    "CUDA_JWT",
    "TORCH_Secret",
    "apikey",
)
# sbatch itself would speak to its controller with it
JWT = "SLURM_JWT"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(nodes=2) as here:
        yield here


def secrets(*names: str) -> dict[str, str]:
    return {name: f"{CANARY}-{name}" for name in names}


def leaks(*folders: Path) -> list[Path]:
    """Return the files whose bytes or names hold a canary or the key of W&B."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and holds_secret([path.read_bytes(), str(path).encode()])
    ]


def holds_secret(contents: Iterable[bytes]) -> bool:
    return any(word.encode() in content for content in contents for word in (CANARY, API_KEY))


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("mode", amount(["online"], ["online", "offline"]))
def test_a_study_and_its_upload_hold_no_secret(
    server: WandbStub, image_folder: Path, tmp_path: Path, mode: str
) -> None:
    """The user is in a job, or has a JWT; W&B's key still opens its server."""
    root, experiment = tmp_path / "root", tmp_path / "tiny.py"
    experiment.write_text(EXPERIMENT)
    study = (experiment, "--data", image_folder, "--members", 1, "--root", root)
    environment = {
        **secrets(JWT, *NAMES),
        "SLURM_JOB_ID": "7",
        "WANDB_MODE": mode,
        "TMPDIR": str(tmp_path),
        "WANDB_ERROR_REPORTING": "false",
    }
    output = [
        going_deeper("run", *study, environment=environment),
        going_deeper("sync", "--root", root, environment=environment),
        going_deeper("report", *study, "--into", tmp_path / "into", environment=environment),
        going_deeper("publish", *study, "--to", tmp_path / "kept", environment=environment),
        going_deeper("export", *study, "--member", 0, "--into", tmp_path / "exported",
                     environment=environment),
    ]  # fmt: skip
    assert [process.returncode for process in output] == [0] * 5, output
    assert len(server.runs) == len(list(root.glob("*/*/tracking.json"))) >= 7
    assert len(list(root.rglob("*.wandb"))) >= 7
    assert leaks(tmp_path) == []
    assert not holds_secret(server.bodies)
    assert len(server.bodies) > 20
    assert not holds_secret((process.stdout + process.stderr).encode() for process in output)


@pytest.mark.slow  # jobs load torch
def test_jobs_and_their_scripts_hold_no_secret(
    cluster: Cluster, server: WandbStub, image_folder: Path, tmp_path: Path
) -> None:
    """They get it from SLURM, which hands on the environment: a job that needs the key
    of W&B has it.
    """
    environment = {**secrets(*NAMES), "WANDB_MODE": "online"}
    study = Submitted(cluster, tmp_path, image_folder, "--members", 1, environment=environment)
    submitted = study.submit()
    assert submitted.returncode == 0, submitted.stderr
    assert complete(study.wait()) == 4
    assert len(server.runs) >= 4
    assert len(list((study.root / "jobs").glob("*_submission.sh"))) == 4
    assert leaks(tmp_path) == []
    assert not holds_secret(server.bodies)
    assert (study.root / "wandb").stat().st_mode & 0o777 == 0o700
    modes = {path.stat().st_mode & 0o777 for path in study.root.glob("runs/*/final/*")}
    assert modes == {0o666 & ~0o022}


def test_a_process_gets_no_secret_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (JWT, *NAMES, "WANDB_API_KEY"):
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    before = dict(os.environ)
    with without_secrets("WANDB_"):
        inside = dict(os.environ)
    assert os.environ == before
    assert set(before) - set(inside) >= {JWT, *NAMES}
    assert inside["WANDB_API_KEY"] == CANARY
    assert inside["SLURM_JOB_ID"] == "7"


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "OMP_NUM_THREADS", "PATH", "HOME", "PYTHONPATH"])
def test_other_variables_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_a_site_shows_its_variables_but_no_secret() -> None:
    site = Site(cluster="local", environment={"HF_TOKEN": CANARY, "NCCL_DEBUG": "INFO"})
    shown = json.dumps(site.without_secrets().model_dump(mode="json"))
    assert CANARY not in shown
    assert '"NCCL_DEBUG": "INFO"' in shown
    assert '"HF_TOKEN": "(a secret)"' in shown


@pytest.mark.parametrize("value", [f'"{CANARY}\\n"', f'["{CANARY}"]'])
def test_a_wrong_secret_of_a_site_is_not_shown(value: str, tmp_path: Path) -> None:
    (path := tmp_path / "site.toml").write_text(
        f'cluster = "local"\n[environment]\nHF_TOKEN = {value}\n'
    )
    with pytest.raises(InputError, match=r"site.toml: environment.HF_TOKEN: ") as refusal:
        load_site(path)
    assert CANARY not in str(refusal.value)
