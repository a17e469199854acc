"""The launcher: stages as jobs of submitit. It adds resources and dependencies, nothing more."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit

from pipeline.adapters.environment import PROCESS_ENVIRONMENT
from pipeline.artefacts import storage
from pipeline.stages import run_stage
from pipeline.study import STAGES, StageConfig, StageFailed
from slurm.site import Resources, Site


def launch(missing: Sequence[StageConfig], root: Path, site: Site) -> None:
    """Submit the missing stages, inputs first. `local` waits for each; `slurm` chains them and returns at once.

    Raises:
        StageFailed: a local job ended without its artefact; the message names its log.
    """
    os.environ.update(PROCESS_ENVIRONMENT | os.environ)  # jobs inherit it
    root = root.absolute()
    jobs: dict[str, submitit.Job[None]] = {}
    for config in missing:
        parents = [jobs[named.hash].job_id for named in config.inputs if named.hash in jobs]
        executor = submitit.AutoExecutor(folder=storage.private_folder(root / "jobs"), cluster=site.cluster)
        executor.update_parameters(**parameters(config, site, parents))
        job = executor.submit(run_job, str(_write_config(config, root)), str(root))
        jobs[config.hash] = job
        print(f"{config.stage} {root / config.folder}: job {job.job_id}", file=sys.stderr, flush=True)
        if site.cluster == "local":
            job.wait()
            if not config.is_complete(root):
                raise StageFailed(f"{config.stage} {root / config.folder}: job {job.job_id} failed; see {job.paths.stderr}")


def parameters(config: StageConfig, site: Site, parents: Sequence[str]) -> dict[str, Any]:
    """Submitit's parameters for a stage's job, to start once its `parents` have succeeded.

    >>> from pipeline.study import PrepareConfig
    >>> config = PrepareConfig(source="digits", name="digits")
    >>> parameters(config, Site(cluster="slurm"), ["41", "42"])["slurm_additional_parameters"]["dependency"]
    'afterok:41:42'
    """
    granted: Resources = site.granted(config.stage)
    chosen: dict[str, Any] = {"name": f"{config.stage}-{config.hash[:8]}", **granted.model_dump(exclude_none=True)}
    if not granted.gpus_per_node:
        del chosen["gpus_per_node"]
    if site.cluster == "slurm":
        for name in ("slurm_partition", "slurm_account", "slurm_qos", "slurm_constraint"):
            if (value := getattr(site, name)) is not None:
                chosen[name] = value
        if site.slurm_setup:
            chosen["slurm_setup"] = ["set -eE -o pipefail", *site.slurm_setup]
        if parents:
            after = {"dependency": f"afterok:{':'.join(parents)}", "kill-on-invalid-dep": "yes"}
            chosen["slurm_additional_parameters"] = after
    return chosen


def run_job(config_path: str, root: str) -> None:
    """What a job's every rank runs: join the others, then the stage."""
    environment = submitit.helpers.TorchDistributedEnvironment()
    if environment.world_size > 1:
        environment.export(set_cuda_visible_devices=False)
    run_stage(read_config(Path(config_path)), Path(root))


def read_config(path: Path) -> StageConfig:
    """The config in a job's file."""
    content = json.loads(path.read_text())
    return STAGES[content["stage"]].model_validate(content["config"])


def _write_config(config: StageConfig, root: Path) -> Path:
    path = root / "jobs" / f"{config.stage}-{config.hash}.json"
    storage.write_json(path, {"stage": config.stage, "config": config.model_dump(mode="json")})
    return path
