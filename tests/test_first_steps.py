"""What a newcomer meets first: names, lists, completion, a folder of one's own."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipeline.commands.main import commands
from pipeline.configs import shipped, wrong_fields
from pipeline.configs.experiment import load_study
from pipeline.configs.wrong_fields import PATTERNS
from pipeline.errors import InputError
from pipeline.runtime.extras import require
from slurm.site import load_site, site_names
from tests.commands import EXPERIMENT, TOP, going_deeper, in_process


def test_experiments_are_listed_with_a_line_each() -> None:
    shown = in_process("experiments").stdout
    for path in (TOP / "experiments").glob("*.py"):
        assert re.search(rf"^{path.stem} +\S", shown, re.MULTILINE)
    assert "going-deeper run NAME --help" in shown


@pytest.mark.processes
def test_names_work_in_an_empty_folder(tmp_path: Path) -> None:
    """As with an installed package: none of our folders is the current one."""
    command = [sys.executable, "-m", "pipeline", "plan", "aux_heads", "--site", "gpu"]
    code = {**os.environ, "PYTHONPATH": str(TOP)}
    ended = subprocess.run(command, cwd=tmp_path, env=code, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "8 GPUs a node" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_site(Path("gpu")).cluster == "slurm"
    Path("gpu").write_text('cluster = "local"')
    assert load_site(Path("gpu")).cluster == "local"


def test_what_names_lead_to_is_in_a_wheel() -> None:
    build = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert {"experiments", "pipeline*", "slurm*"} <= set(build["packages"]["find"]["include"])
    assert "sites/*.toml" in build["package-data"]["slurm"]
    assert "starter/*" in build["package-data"]["pipeline"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "No such command 'rnu'; did you mean run? see going-deeper --help"),
        (
            ["data", "prepar"],
            "No such command 'prepar'; did you mean prepare? see going-deeper data --help",
        ),
        (["plan", "dmeo"], "dmeo: no such Python file or experiment; did you mean demo?"),
        (["plan", "xyz"], "or experiment; going-deeper experiments lists those that ship"),
        (["plan", "demo", "--site", "gup"], "; did you mean gpu?"),
        (["plan", "demo", "--site", "x"], f"or one of {', '.join(site_names())}"),
        (["plan", "demo", "--sit", "gpu"], "No such option --sit; did you mean --site?"),
        (["plan", "demo", "--mebers", "3"], "No such option --mebers; did you mean --members?"),
        (
            ["evaluate", "--wieghts", "w"],
            "No such option '--wieghts'; did you mean --weights? see going-deeper evaluate --help",
        ),
    ],
)
def test_the_nearest_name_is_told(words: list[str], message: str) -> None:
    failed = in_process(*words)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert message in failed.stderr


STUDY = EXPERIMENT.replace("clip_norm=1.0", "{}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("learning_rte=1.0", "learning_rte = 1.0: no such field; did you mean learning_rate?"),
        ("learning_rate=-1", "learning_rate = -1: Input should be greater than 0"),
    ],
)
def test_an_error_in_a_config_names_its_line(fields: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(STUDY.format(fields))
    line = next(k for k, text in enumerate(STUDY.splitlines(), 1) if "TrainConfig(" in text)
    with pytest.raises(InputError) as refusal:
        load_study(path, [])
    assert re.fullmatch(
        rf"{re.escape(str(path))}: line {line}: {re.escape(message)}", str(refusal.value)
    )


def test_a_missing_field_reads_as_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(EXPERIMENT.replace("num_epochs=epochs,", ""))
    with pytest.raises(InputError, match=r"num_epochs: is missing; TrainConfig needs it$"):
        load_study(path, [])


def test_patterns_are_told_in_words(tmp_path: Path) -> None:
    """Every pattern in our code has its words."""
    path = tmp_path / "mine.py"
    path.write_text(EXPERIMENT.replace('"colours"', '"my colours"'))
    expected = "name = 'my colours': expected 1 to 64 letters, digits, dots, hyphens and"
    with pytest.raises(InputError, match=expected):
        load_study(path, [])
    own = Path(wrong_fields.__file__)
    sources = [p for room in ("pipeline", "slurm") for p in (TOP / room).rglob("*.py") if p != own]
    patterns = {
        found
        for source in sources
        for found in re.findall(
            r'(?:pattern=|(?:NAME|SHA\d+|SHA1, SHA256) = )r"(\^.*?\$)"', source.read_text()
        )
    }
    assert patterns <= PATTERNS.keys()
    assert len(patterns) >= 7


def test_helpers_beside_an_experiment(tmp_path: Path) -> None:
    """They are imported from its own folder, anew each time, and their errors name
    their line.
    """
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = EXPERIMENT.replace('name="tiny"', "name=NAME")
        (tmp_path / name / "mine.py").write_text(f"from common import NAME{text}")
        (tmp_path / name / "common.py").write_text(f"NAME = '{name}'")
    before = list(sys.path)
    assert [load_study(tmp_path / k / "mine.py", []).name for k in ("one", "two")] == ["one", "two"]
    (tmp_path / "two/common.py").write_text("NAME = 'own'")
    assert load_study(tmp_path / "two/mine.py", []).name == "own"
    (tmp_path / "two/common.py").write_text("\nNAME = unknown")
    with pytest.raises(InputError, match=r"two/mine.py: common.py, line 2: NameError"):
        load_study(tmp_path / "two/mine.py", [])
    assert sys.path == before
    assert "common" not in sys.modules
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["common.py", "mine.py"]


def test_the_version_is_told() -> None:
    assert re.fullmatch(r"going-deeper \d+\.\d+\.\d+\n", in_process("--version").stdout)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["ru"], "plain,run"),
        (["run", "dem"], "plain,demo"),
        (["run", "demo", "--mem"], "plain,--members"),
        (["run", "demo", "--roo"], "plain,--root"),
        (["plan", "demo", "--site", "gp"], "plain,gpu"),
        (
            ["run", "caltech101", "--precision", ""],
            "plain,fp32\nplain,tf32\nplain,bf16\nplain,fp16",
        ),
        (["run", "nowhere.py", "--mem"], ""),
    ],
)
def test_a_shell_completes(line: list[str], expected: str) -> None:
    """What bash asks, and what it gets; zsh and fish ask the same."""
    words = " ".join(["going-deeper", *line])
    asked = {
        "_GOING_DEEPER_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(line)),
    }
    answer = going_deeper(environment=asked).stdout.strip()
    assert re.sub(r"\nfile,\w+$", "", answer) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    printed = in_process("completion", shell)
    assert printed.returncode == 0, printed.stderr
    assert f"_GOING_DEEPER_COMPLETE={shell}_complete" in printed.stdout
    assert commands.name == "going-deeper"


@pytest.mark.processes
def test_init_writes_what_works_and_passes_our_checks(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert in_process("init", folder).returncode == 0
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["README.md", "experiment.py", "site.toml"]
    run = ("experiment.py", "--epochs", "0.1", "--root", tmp_path / "root")
    command = [sys.executable, "-m", "pipeline", "run", *map(str, run)]
    code = {**os.environ, "PYTHONPATH": str(TOP)}
    ended = subprocess.run(command, cwd=folder, env=code, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "1 small GoogLeNet on digits" in ended.stdout
    assert load_site(folder / "site.toml").cluster == "local"
    ruff = [sys.executable, "-m", "ruff", "check", "--config", TOP / "pyproject.toml", folder]
    checked = subprocess.run(list(map(str, ruff)), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    again = in_process("init", folder)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "exists and is no empty folder; choose another FOLDER" in again.stderr
    for line in re.findall(r"going-deeper (\w+)", (folder / "README.md").read_text()):
        assert line in commands.list_commands(None)  # type: ignore[arg-type]


def test_a_plan_refuses_what_a_run_refuses(tmp_path: Path) -> None:
    """Without a path the plan is still shown, and what is missing."""
    shown = in_process("plan", "table3").stdout
    assert "before it can run: where the images of ilsvrc2012 lie, by --data" in shown
    refused = in_process("plan", "table3", "--data", tmp_path / "photos")
    assert refused.returncode == 2
    assert "photos: no such folder" in refused.stderr
    site = tmp_path / "site.toml"
    site.write_text('cluster = "slurm"\n[train]\nnodes = 8\ntasks_per_node = 8\ngpus_per_node = 8')
    refused = in_process("plan", "table3", "--site", site, "--members", 1)
    assert "32 cannot be shared equally by 64 ranks" in refused.stderr
    many = ("--recipe", "large_batch", "--batch", 1024)
    shown = in_process("plan", "table3", "--site", site, "--members", 1, *many).stdout
    assert "1024 images a step are 16 for each of 64 GPUs: below 32" in shown
    assert "for each of" not in in_process("plan", "table3", "--site", site, *many[:3], 2048).stdout


def test_help_shows_the_experiments_own_words() -> None:
    shown = in_process("run", "demo", "--help").stdout
    assert shipped.description(TOP / "experiments/demo.py").splitlines()[0] in shown
    assert re.search(r"--epochs FLOAT +Length of a training", shown)


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(InputError, match=r"no_such is not installed; pip install 'going-deeper\[x"):
        require("x", "json", "no_such")
