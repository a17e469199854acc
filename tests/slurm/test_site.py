"""Site files are validated; jobs get submitit's parameters from them."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError
from submitit.slurm.slurm import _make_sbatch_string

from pipeline.configs.study import Study
from pipeline.errors import InputError
from slurm.launch import launch
from slurm.parameters import parameters
from slurm.resources import Resources
from slurm.site import Site, load_site
from slurm.snapshot import python

SITES = sorted((Path(__file__).parents[2] / "slurm/sites").glob("*.toml"))


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_every_site_loads(path: Path) -> None:
    assert load_site(path).cluster in ("local", "slurm")


def test_the_annotated_site_has_every_key() -> None:
    """Also with its comments taken in, it is a site."""
    text = (SITES[0].parent / "annotated.toml").read_text()
    whole = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    keys = set(re.findall(r"\b(\w+) = |\[(\w+)\]", whole))
    named = {name for pair in keys for name in pair} | set(re.findall(r"or (\w+)", whole))
    assert Site.model_fields.keys() - named == set()
    Site.model_validate(tomllib.loads(whole))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such site file; expected a file.toml, or one of"),
        ("cluster =", "is not TOML"),
        (
            "cluster = 'slurm'\nslurm_partitoin = 'gpu'",
            "unknown key slurm_partitoin; did you mean partition?",
        ),
        (
            "cluster = 'slurm'\n[train]\ngpus_per_nod = 8",
            "unknown key train.gpus_per_nod; did you mean gpus_per_node?",
        ),
        ("cluster = 'cloud'", "cluster = 'cloud': Input should be 'local' or 'slurm'"),
        (
            "cluster = 'slurm'\nslurm_account = 'a b'",
            "slurm_account = 'a b': expected what SLURM takes: letters, digits and",
        ),
        (
            'cluster = "slurm"\nslurm_partition = "gpu\\n#SBATCH --uid=0"',
            "partition = .* expected what SLURM takes",
        ),
        (
            'cluster = "slurm"\nslurm_setup = ["true\\nrm"]',
            "setup.0 = 'true.nrm': character 5 is '.n'; expected one line",
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


def slurm(text: str) -> Site:
    """Return a site of SLURM from the text of its file."""
    return Site.model_validate({"cluster": "slurm"} | tomllib.loads(text))


def test_the_top_is_the_default_of_all_tables() -> None:
    site = slurm("""
        partition = "cpu"
        account = "proj@v100"
        constraint = "a100&ib"
        mem_gb = 8
        sbatch.hint = "nomultithread"
        [train]
        partition = "gpu,preempt"
        constraint = ""
        mem_per_cpu = "4000M"
        gpus_per_node = "a100:4"
        sbatch.contiguous = true
    """)
    assert options(site, "report") == {
        "requeue": True,
        "partition": "cpu",
        "account": "proj@v100",
        "constraint": "a100&ib",
        "hint": "nomultithread",
    }
    assert options(site, "train") == {
        "requeue": True,
        "partition": "gpu,preempt",
        "account": "proj@v100",
        "mem-per-cpu": "4000M",
        "gpus-per-node": "a100:4",
        "hint": "nomultithread",
        "contiguous": True,
    }
    assert (site.train.mem_gb, site.report.mem_gb) == (None, 8)
    assert site.but(max_timeouts=1).but(max_timeouts=site.max_timeouts) == site


def options(site: Site, kind: str) -> dict[str, object]:
    """Return the options that submitit writes as they are."""
    more = parameters(f"{kind}-1", site.granted(kind), site)["additional_parameters"]
    return dict(more)


def test_names_of_earlier_versions_are_taken() -> None:
    old = slurm("""
        slurm_partition = "main"
        slurm_exclude = "node7"
        slurm_setup = ["true"]
        slurm_array_parallelism = 3
        slurm_signal_delay_s = 7
    """)
    assert old == slurm("""
        partition = "main"
        exclude = "node7"
        setup = ["true"]
        array_parallelism = 3
        signal_delay_s = 7
    """)
    assert (old.report.partition, old.report.setup, old.array_parallelism) == ("main", ("true",), 3)
    with pytest.raises(ValidationError, match="slurm_partition"):
        slurm("slurm_partition = 'a'\npartition = 'b'")


@pytest.mark.parametrize(
    ("table", "gpus"),
    [
        ("gpus_per_node = 4", 4),
        ("gpus_per_node = 'a100:4'", 4),
        ("gres = 'gpu:a100:4(S:0,1),nvme:1'", 4),
        ("gres = 'gpu:2'", 2),
        ("gpus_per_node = 3\nask_for_gpus = false", 3),
        ("gres = 'nvme:1'", 0),
    ],
)
def test_gpus_are_counted_however_they_are_asked_for(table: str, gpus: int) -> None:
    site = slurm(f"[train]\ntasks_per_node = 8\n{table}")
    assert site.train.num_gpus == gpus
    assert site.devices()["train"].kind == ("GPU" if gpus else "core")
    assert (f"{gpus} GPUs a node" in site.in_words()["train"]) == (gpus > 0)
    assert ("gpus-per-node" in options(site, "train")) == (gpus > 0 and table.endswith(("4", "4'")))


def test_fewer_ranks_ask_for_fewer_gpus_of_the_kind() -> None:
    site = slurm("[train]\ntasks_per_node = 4\ngpus_per_node = 'a100:4'")
    assert site.train.with_ranks(1, 2).gpus_per_node == "a100:2"


def test_a_stage_without_gpus_stays_off_their_partition_unless_told_so() -> None:
    top = "partition = 'gpu,preempt'\n[train]\ngpus_per_node = 1\n[evaluate]\ngpus_per_node = 1\n"
    with pytest.raises(ValidationError, match=r"prepare: asks for no GPU, but would go to gpu, "):
        slurm(top)
    told = slurm(f"{top}[prepare]\npartition = 'gpu'\n[report]\npartition = 'cpu'")
    assert (told.prepare.partition, told.report.partition) == ("gpu", "cpu")
    assert slurm("partition = 'cpu'\n[train]\npartition = 'gpu'\ngpus_per_node = 1")
    assert slurm("partition = 'main'\n[train]\nnodes = 2")


def test_what_is_for_each_gpu_is_for_stages_with_gpus() -> None:
    site = slurm("mem_per_gpu = '60G'\ncpus_per_gpu = 8\n[train]\ngpus_per_node = 'a100:2'")
    assert (site.train.mem_per_gpu, site.report.mem_per_gpu) == ("60G", None)
    train = parameters("train-1", site.train, site)
    assert (train["cpus_per_task"], train["srun_args"]) == (None, ["--cpus-per-task=16"])
    with pytest.raises(ValidationError, match="report: asks for cores or memory of GPUs"):
        slurm("[report]\nmem_per_gpu = '60G'")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("mem_gb = 1\nmem_per_cpu = '1G'", "mem_gb and mem_per_cpu exclude each other; keep one"),
        ("mem_per_gpu = '1G'\nmem_per_cpu = '1G'", "mem_per_cpu and mem_per_gpu exclude each"),
        ("cpus_per_gpu = 2\ncpus_per_task = 2", "cpus_per_task and cpus_per_gpu exclude each"),
        ("gpus_per_node = 1\ngres = 'gpu:1'", "gpus_per_node and gres exclude each other"),
        ("gres = 'gpu:1'\nask_for_gpus = false", "gres asks for GPUs, and ask_for_gpus = false"),
        ("gpus_per_node = 'a100'", "expected 0 to 64 GPUs, or TYPE:NUMBER such as a100:4"),
        ("gpus_per_node = true", "expected 0 to 64 GPUs"),
        ("mem_per_cpu = '4 GB'", "expected memory such as 4000M or 60G"),
        ("exclusive = 'me'", 'expected true, false, "user", "mcs" or "topo"'),
        ("sbatch.dependency = 'afterok:1'", "dependency: the launcher says which job waits"),
        ("sbatch.depend = 'afterok:1'", "dependency: the launcher says which job waits"),
        ("sbatch.array = '1-9'", "array: the key array says it"),
        ("sbatch.output = 'x'", "output: the launcher names a job's files"),
        ("sbatch.wrap = 'id'", "wrap: a job runs this package's own code"),
        ("sbatch.signal = 'USR1@1'", "signal: the key signal_delay_s says it"),
        ("sbatch.partition = 'x'", "partition: the key partition says it"),
        ("sbatch.mem-per-cpu = '1G'", "mem-per-cpu: the key mem_per_cpu says it"),
        ("sbatch.export = 'NONE'", r"export: \[environment\] has the variables of jobs"),
        ("sbatch.tres-per-task = 'gres/gpu:1'", "tres-per-task: gpus_per_node says it"),
        ("srun = ['--ntasks-per-gpu=9']", "ntasks-per-gpu: a job has nodes x tasks_per_node"),
        ("sbatch.A = 'x'", "'A': expected an option's long name, such as hint"),
        ("sbatch.hint = ['x']", "hint: expected a text, a whole number, or true"),
        ("srun = ['-K']", "expected an option such as --mpi=pmix, its value behind ="),
        ("srun = ['id']", "expected an option such as --mpi=pmix, its value behind ="),
        ("srun = ['--output=x']", "output: the launcher names a job's files"),
        ("srun = ['--ntasks=9']", "ntasks: a job has nodes x tasks_per_node ranks"),
    ],
)
def test_what_slurm_or_the_launcher_would_not_take_is_refused(
    table: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "site.toml"
    path.write_text(f"cluster = 'slurm'\n[train]\n{table}")
    with pytest.raises(InputError, match=message) as refused:
        load_site(path)
    assert "\n" not in str(refused.value)
    assert "train" in str(refused.value)


def test_python_may_be_one_in_a_container(tmp_path: Path) -> None:
    words = shlex.split(python(tmp_path, 0o22, 'apptainer exec --nv "my image.sif" python3'))
    assert words[:7] == ["apptainer", "exec", "--nv", "my image.sif", "python3", "-I", "-S"]
    assert shlex.split(python(tmp_path, 0o22, "a; rm -rf $HOME"))[:4] == [
        "a;",
        "rm",
        "-rf",
        "$HOME",
    ]
    assert "'$HOME'" in python(tmp_path, 0o22, "a; rm -rf $HOME")


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


TEXTS = sorted(
    name
    for name, field in Resources.model_fields.items()
    if "str" in str(field.annotation) and name not in ("setup", "sbatch", "srun")
)


@pytest.mark.parametrize("field", ["slurm_partition", "slurm_exclude", *TEXTS])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_name_smuggles_a_line_into_the_batch_script(field: str, payload: str) -> None:
    if field == "comment" and payload in ("$(id)", "`id`", "gpu;id", "gpu --uid=0"):
        assert f"'{payload}'" in script(Resources(comment=payload))  # a text in quotes
        return
    with pytest.raises(ValidationError, match=field):
        Site.model_validate({"cluster": "slurm", field: payload})
    with pytest.raises(ValidationError, match=field):
        Site.model_validate({"cluster": "slurm", "train": {field: payload}})


def script(resources: Resources) -> str:
    """Return the batch script of a job."""
    options = parameters("train-1", resources, Site(cluster="slurm"))
    text: str = _make_sbatch_string(command="python", folder="/jobs", **options)
    return text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nor_does_an_option(payload: str) -> None:
    plain = len(script(Resources(sbatch={"hint": "x"}, srun=("--mpi=x",))).splitlines())
    for table in (
        {"sbatch": {"hint": payload}},
        {"sbatch": {payload: True}},
        {"srun": (f"--mpi={payload}",)},
        {"srun": (payload,)},
    ):
        try:
            lines = script(Resources.model_validate(table)).splitlines()
        except ValidationError:
            continue
        assert payload.isprintable()
        assert len(lines) in (plain, plain - 1)
        assert all(len(shlex.split(line)) == 2 for line in lines if line.startswith("#SBATCH"))
        assert shlex.split(lines[-1])[-1] == "python"


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
