"""Whatever an experiment file does instead of defining a study: one line names it."""

import os
import time
from pathlib import Path

import pytest

from pipeline.configs.experiment import load_study
from pipeline.configs.user_file import ENDS
from pipeline.errors import InputError
from tests.commands import EXPERIMENT, going_deeper, in_process

STUDY = EXPERIMENT.split("from pathlib", 1)[1].join(("from pathlib", ""))
FUNCTION = "def experiment(members: int = 2):\n    "
WRONG = {
    "annotation": ("def experiment(members: 'Missing' = 1): ...", "NameError: name 'Missing'"),
    "annotation that raises": (
        "def experiment(a: '1 / 0' = 1): ...",
        "ZeroDivisionError: division",
    ),
    "SystemExit": ("raise SystemExit(0)", "line 1: SystemExit: 0"),
    "SystemExit, called": (f"{FUNCTION}raise SystemExit(0)", "line 2: SystemExit: 0"),
    "sys.exit": (f"import sys\n{FUNCTION}sys.exit('bye')", "line 3: SystemExit: bye"),
    "BaseException": (f"{FUNCTION}raise BaseException('odd')", "line 2: BaseException: odd"),
    "GeneratorExit": (f"{FUNCTION}raise GeneratorExit", "line 2: GeneratorExit: "),
    "StopIteration": (f"{FUNCTION}raise StopIteration", "line 2: StopIteration: "),
    "interrupt of its own": (
        f"class Mine(KeyboardInterrupt): ...\n{FUNCTION}raise Mine('x')",
        "line 3: Mine: x",
    ),
    "os._exit": ("import os\nos._exit(0)", "line 2: os._exit would end the command"),
    "os._exit, called": (f"import os\n{FUNCTION}os._exit(0)", "line 3: os._exit would end"),
    "from os import _exit": (f"from os import _exit\n{FUNCTION}_exit(0)", "line 3: os._exit would"),
    "os.abort": ("import os\nos.abort()", "line 2: os.abort would end the command"),
    "os.execv": ("import os\nos.execvp('true', ['true'])", "os.execv would end the command"),
    "a guarded os._exit": (
        "import os\ntry:\n    os._exit(0)\nexcept Exception:\n    pass",
        "line 3: os._exit would end the command",
    ),
    "recursion": ("def f(): f()\nf()", "line 1: RecursionError: maximum recursion depth"),
    "exec of itself": ("s = 'exec(s)'\nexec(s)", "line 2: RecursionError: maximum recursion"),
    "deep expression": (f"{'-' * 100_000}1", ""),
    "many brackets": (f"{'(' * 1000}{')' * 1000}", "line 1: too many nested parentheses"),
    "zero byte": ("a = 1\0", "source code string cannot contain null bytes"),
    "other file": (
        "import ast\nast.parse('a b', 'other.cfg')",
        "other.cfg, line 1: invalid syntax",
    ),
    "message that raises": (
        "class Odd(Exception):\n    def __str__(self): 1 / 0\nraise Odd",
        "line 3: Odd: its message cannot be shown",
    ),
    "long message": ("raise ValueError('x' * 10**6)", "ValueError: xxx"),
    "module that answers": (
        "def __getattr__(name): raise SystemExit",
        "line 1: SystemExit: ",
    ),
    "no parameter": ("def experiment(*args): ...", ""),
    "built in": ("experiment = print", ""),
    "type of a parameter": ("def experiment(a: list[int] = 3): ...", ""),
    "no study": (f"{FUNCTION}return members", "experiment() returned int"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_experiment_is_one_line(case: str, tmp_path: Path) -> None:
    text, message = WRONG[case]
    path = tmp_path / "wrong.py"
    path.write_text(text)
    before, started = {name: getattr(os, name) for name in ENDS}, time.perf_counter()
    failed = in_process("plan", path, "--root", tmp_path / "root")
    assert time.perf_counter() - started < 1
    assert failed.returncode == 2, failed.stderr
    assert failed.stderr.startswith(f"going-deeper: {path}: ")
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert len(failed.stderr) < 1000 + len(str(path))
    assert {name: getattr(os, name) for name in ENDS} == before
    assert in_process("run", path, "--help").returncode in (0, 2)


@pytest.mark.parametrize("option", ["--members", "--epochs"])
@pytest.mark.parametrize("value", ["9" * 20, "9" * 5000, "-1", "nan", "inf", "1e308", ""])
@pytest.mark.parametrize("name", ["demo", "table3", "caltech101", "own"])
def test_every_count_has_bounds(name: str, option: str, value: str, tmp_path: Path) -> None:
    path = Path("experiments") / f"{name}.py"
    if name == "own":  # its members are a plain int
        path = tmp_path / "own.py"
        path.write_text(STUDY)
    started = time.perf_counter()
    failed = in_process("plan", path, f"{option}={value}", "--root", tmp_path / "root")
    assert time.perf_counter() - started < 1
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1), failed.stderr


def test_a_fork_of_an_experiment_may_end(tmp_path: Path) -> None:
    """As those of multiprocessing do."""
    path = tmp_path / "forks.py"
    path.write_text(
        f"{STUDY}\nimport os\nif (child := os.fork()) == 0:\n    os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    assert load_study(path, []).name == "tiny"


def test_an_experiment_that_changed_within_a_second_is_read_again(tmp_path: Path) -> None:
    """Python's own cache goes by second and size, and would give the old one."""
    path = tmp_path / "quick.py"
    names = []
    for name in ("one", "two"):
        path.write_text(STUDY.replace('name="tiny"', f'name="{name}"'))
        os.utime(path, (1e9, 1e9))
        names.append(load_study(path, []).name)
    assert names == ["one", "two"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["quick.py"]


@pytest.mark.processes
def test_the_command_outlives_what_would_end_it(tmp_path: Path) -> None:
    path = tmp_path / "ends.py"
    path.write_text("import os\nos._exit(0)")
    failed = going_deeper("plan", path)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "line 2: os._exit would end the command" in failed.stderr


def test_a_network_of_the_users_may_not_end_it_either(tmp_path: Path) -> None:
    path, data = tmp_path / "network.py", tmp_path / "data"
    path.write_text("import os\ndef make(num_classes):\n    os._exit(0)")
    from pipeline.models.making import _users_network

    with pytest.raises(InputError, match=r"network.py: line 3: os._exit would end"):
        _users_network(path, "make", 3, {})
    assert not data.exists()
