"""Site files are validated; jobs get submitit's parameters from them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.configs.study import Study
from pipeline.errors import InputError
from slurm.launch import launch
from slurm.parameters import parameters
from slurm.site import Resources, Site, load_site

SITES = sorted((Path(__file__).parents[2] / "slurm/sites").glob("*.toml"))


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_every_site_loads(path: Path) -> None:
    assert load_site(path).cluster in ("local", "slurm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such site file; expected a file.toml, or one of"),
        ("cluster =", "is not TOML"),
        (
            "cluster = 'slurm'\nslurm_partitoin = 'gpu'",
            "unknown key slurm_partitoin; did you mean slurm_partition?",
        ),
        (
            "cluster = 'slurm'\n[train]\ngpus_per_nod = 8",
            "unknown key train.gpus_per_nod; did you mean gpus_per_node?",
        ),
        ("cluster = 'cloud'", "cluster = 'cloud': Input should be 'local' or 'slurm'"),
        (
            "cluster = 'slurm'\nslurm_account = 'a b'",
            "slurm_account = 'a b': expected 1 to 64 letters, digits, dots, hyphens and",
        ),
        (
            'cluster = "slurm"\nslurm_partition = "gpu\\n#SBATCH --uid=0"',
            "expected 1 to 64 letters",
        ),
        (
            'cluster = "slurm"\nslurm_setup = ["true\\nrm"]',
            "slurm_setup.0 = 'true.nrm': character 5 is '.n'; expected one line",
        ),
        (
            "cluster = 'slurm'\n[train]\nnodes = 0",
            "train.nodes = 0: Input should be greater than or equal to 1",
        ),
    ],
)
def test_wrong_sites_are_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "site.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        load_site(path)
    assert "\n" not in str(raised.value)


def test_parameters_of_a_gpu_site() -> None:
    site = load_site(next(path for path in SITES if path.stem == "gpu"))
    assert parameters("train-0123", site.train, site, ["7"]) == {
        "name": "train-0123",
        "nodes": 1,
        "tasks_per_node": 8,
        "gpus_per_node": 8,
        "cpus_per_task": 8,
        "mem_gb": 256.0,
        "timeout_min": 2880,
        "slurm_partition": "gpu",
        "slurm_srun_args": ["--cpus-per-task=8"],
        "slurm_array_parallelism": 256,
        "slurm_signal_delay_s": 90,
        "slurm_additional_parameters": {
            "requeue": True,
            "dependency": "afterok:7",
            "kill-on-invalid-dep": "yes",
        },
    }


def test_job_folder_that_others_can_write_is_refused(tmp_path: Path, study: Study) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs").chmod(0o777)
    with pytest.raises(InputError, match="others can write to it"):
        launch(
            study,
            study.stages,
            tmp_path,
            load_site(next(path for path in SITES if path.stem == "local")),
        )


PAYLOADS = (
    "gpu\n#SBATCH --uid=0",
    "gpu\n\nrm -rf ~",
    "gpu\rid",
    "gpu\x0bid",
    "gpu\u2028id",
    "$(id)",
    "`id`",
    "gpu;id",
    "gpu --uid=0",
    "gpu'",
)


@pytest.mark.parametrize(
    "field", ["slurm_partition", "slurm_account", "slurm_qos", "slurm_constraint", "slurm_exclude"]
)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_name_smuggles_a_line_into_the_batch_script(field: str, payload: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Site.model_validate({"cluster": "slurm", field: payload})


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nor_do_paths_lines_and_variables(tmp_path: Path, study: Study, payload: str) -> None:
    with pytest.raises(InputError, match="its path goes into batch scripts"):
        launch(study, study.stages, tmp_path / payload, Site(cluster="slurm"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot name a job"):
        parameters(f"probe-{payload}", Resources(), Site(cluster="slurm"))
    with pytest.raises(ValidationError):
        Site.model_validate({"cluster": "slurm", "environment": {payload: "1"}})
    with pytest.raises(ValidationError):
        Site.model_validate({"cluster": "slurm", "scratch": f"/tmp/{payload}"})
    with pytest.raises(ValidationError):
        Study.model_validate({**dict(study), "name": payload})
    if not payload.isprintable():
        with pytest.raises(ValidationError):
            Site.model_validate({"cluster": "slurm", "slurm_setup": [payload]})


def test_ranks_that_cannot_share_a_batch_are_refused_before_anything_is_submitted(
    tmp_path: Path, study: Study
) -> None:
    site = Site(cluster="slurm", train=Resources(nodes=3))
    with pytest.raises(InputError, match="global_batch_size 8 cannot be shared equally by 3 ranks"):
        launch(study, study.stages, tmp_path, site)
    assert list(tmp_path.iterdir()) == []
