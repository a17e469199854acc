"""Nobody else makes us run code: not by a folder on the way, a changed copy of the
code, a pickle, or a changed library.
"""

import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.errors import InputError, StageFailed
from pipeline.runtime import native
from pipeline.runtime.environment import users_umask
from pipeline.runtime.private import private_folder
from slurm import snapshot as snapshots
from slurm import start
from slurm.begin import digest_of
from slurm.errand import Errand
from slurm.job import OrderedJob
from slurm.launch import launch
from slurm.parameters import parameters
from slurm.site import Site
from slurm.snapshot import snapshot
from tests.commands import TOP
from tests.faults.campaign import amount

ONLY_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="is about other users and groups")
OTHER = 54321  # no user of this machine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root three folders deep."""
    root = tmp_path / "a" / "b" / "root"
    root.mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    "mode",
    [0o777, 0o707, pytest.param(0o770, marks=ONLY_ROOT)],  # a user may have a group alone
)
@pytest.mark.parametrize("depth", range(5))
def test_no_folder_on_the_way_may_be_open(root: Path, depth: int, mode: int) -> None:
    code = private_folder(private_folder(root / "jobs") / "code")
    place = [code, *code.parents][depth]
    place.chmod(mode)
    with pytest.raises(InputError) as refusal:
        private_folder(code)
    assert str(refusal.value).startswith(f"{place}: others can write to it")
    assert "run chmod " in str(refusal.value)
    assert "\n" not in str(refusal.value)
    place.chmod(0o755)
    assert private_folder(code) == code


@pytest.mark.parametrize("depth", range(2, 5))
def test_an_open_folder_is_safe_where_nobody_can_rename(root: Path, depth: int) -> None:
    code = private_folder(root / "jobs" / "code")
    [code, *code.parents][depth].chmod(0o1777)
    assert private_folder(code) == code


@ONLY_ROOT
@pytest.mark.parametrize("depth", range(5))
def test_no_folder_on_the_way_may_be_another_users(root: Path, depth: int) -> None:
    code = private_folder(root / "jobs" / "code")
    place = [code, *code.parents][depth]
    os.chown(place, OTHER, -1)
    with pytest.raises(InputError, match=r"others can write to it|belongs to user 54321"):
        private_folder(code)


@pytest.mark.parametrize("names", [("jobs",), ("jobs", "code")])
def test_a_link_is_as_safe_as_where_it_lies_and_leads(
    root: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Whoever can replace a link, or its target, can replace the code."""
    (tmp_path / "c" / "elsewhere").mkdir(parents=True)
    (link := root.joinpath(*names)).parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "c" / "elsewhere")
    code = root / "jobs" / "code"
    assert private_folder(code) == code
    (tmp_path / "c").chmod(0o777)
    with pytest.raises(InputError, match=f"{tmp_path / 'c'}: others can write"):
        private_folder(code)


def test_new_folders_are_closed_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = private_folder(tmp_path / "new" / "root" / "jobs")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (folder, folder.parent, folder.parents[1])]
    assert modes == [0o700, 0o755, 0o755]


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file is new": lambda code: (code / "torch.py").write_text("raise SystemExit(9)"),
    "a file is gone": lambda code: (code / "slurm/job.py").unlink(),
    "a file is another's": lambda code: (code / "slurm/start.py").write_text("print('evil')"),
    "a link is new": lambda code: (code / "torch").symlink_to("/tmp"),
    "a file is a link": lambda code: _become_link(code / "slurm/job.py"),
    "bytecode": lambda code: _compile(code / "slurm/__pycache__"),
    "the commit is empty": lambda code: (code / "commit.json").write_bytes(b""),
}


def _become_link(path: Path) -> None:
    path.rename(path.parents[2] / "moved.py")
    path.symlink_to(path.parents[2] / "moved.py")


def _compile(folder: Path) -> None:
    folder.mkdir()
    (folder / "start.cpython-311.pyc").write_bytes(b"evil")


@pytest.fixture(params=[*DAMAGES, *(f"flip {k}" for k in range(amount(10, 300)))])
def damage(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    """Something that happens to a copy of the code."""
    if request.param in DAMAGES:
        return DAMAGES[request.param]
    rng = random.Random(request.param)

    def flip(code: Path) -> None:
        _flip(rng.choice(sorted(p for p in code.rglob("*.*") if p.suffix != ".json")), rng)

    return flip


def test_a_changed_copy_of_the_code_is_neither_run_nor_used_again(
    damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A waiting job imports nothing of it. A submission copies the code again."""
    code = snapshot(tmp_path)
    digest, command = digest_of(str(code)), snapshots.python(code, 0o022)
    damage(code)
    job = subprocess.run(
        f"{command} -u -m submitit.core._submit {tmp_path}",
        shell=True,
        env=os.environ | snapshots.code_environment(code),
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 1
    assert job.stdout == ""
    assert job.stderr == (
        f"going-deeper: {code}: is no more the code that was submitted (SHA-256 {digest}); nothing"
        " was run; submit again\n"
    )
    assert snapshot(tmp_path) == code
    assert "is not what its digest says" in capsys.readouterr().err
    assert digest_of(str(code)) == digest
    assert snapshot(tmp_path) == code
    assert capsys.readouterr().err == ""


def test_a_sound_copy_is_run_with_the_users_umask(tmp_path: Path) -> None:
    """The copy here is of a code that tells its umask."""
    (code := tmp_path / "code" / "slurm").mkdir(parents=True)
    (code / "start.py").write_text("import os, sys; print(oct(os.umask(0)), sys.argv[1:])")
    for umask in (0o022, 0o077, 0o002):
        job = subprocess.run(
            f"{snapshots.python(code.parent, umask)} -u -m submitit.core._submit JOBS",
            shell=True,
            env=os.environ | snapshots.code_environment(code.parent),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (job.stdout, job.stderr) == (f"{umask:#o} ['JOBS']\n".replace("0o0", "0o"), "")


class Evil:
    """A pickle that calls a function as it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def dumped(job: Callable[..., object], beside: Path, *arguments: object) -> bytes:
    """Return what submitit would write for a job."""
    DelayedSubmission(job, *arguments).dump(path := beside.with_suffix(".pkl"))
    return path.read_bytes()


def pickles(mark: Path) -> Iterator[bytes]:
    """Yield pickles that write to `mark` as they are read, or later, or are no jobs."""
    make = f"open({str(mark)!r}, 'w').close()"
    for function, argument in (
        (os.system, f"touch {mark}"),
        (exec, make),
        (eval, make),
        (subprocess.getoutput, f"touch {mark}"),
        (Path.touch, mark),
        (getattr, "__class__"),
    ):
        evil = Evil(function, argument)
        job = OrderedJob("order", "root")
        job.order = evil  # type: ignore[assignment]
        yield pickle.dumps(evil)
        yield dumped(job, mark)
        yield dumped(function, mark, argument)
        yield dumped(lambda f=function, a=argument: f(a), mark)
    sound = dumped(OrderedJob("order", "root"), mark)
    yield from (b"", sound[:20], pickle.dumps("a text"), pickle.dumps({"order": "x"}))


def test_a_pickle_that_is_no_job_of_ours_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, mark = tmp_path / "7_submitted.pkl", tmp_path / "mark"
    for content in pickles(mark):
        path.write_bytes(content)
        with pytest.raises(SystemExit, match=r"is no job of ours: .*; nothing was run") as end:
            start.load(path)
        assert "\n" not in str(end.value)
        assert not mark.exists()


@pytest.mark.parametrize("job", [OrderedJob("order", "root"), Errand("probe", "folder")])
def test_our_own_jobs_hold_strings_only(job: OrderedJob | Errand, tmp_path: Path) -> None:
    DelayedSubmission(job).dump(path := tmp_path / "7_submitted.pkl")
    assert vars(start.load(path).function) == vars(job)
    assert {type(value) for value in vars(job).values()} == {str}


@pytest.mark.processes
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_artefacts_of_jobs_have_the_users_umask(
    study: Study, data: PrepareConfig, tmp_path: Path, umask: int
) -> None:
    """Jobs here prepare the data set, and find no verdict. What code is run from is
    closed.
    """
    environment = dict(os.environ)
    before = os.umask(umask)
    try:
        with pytest.raises(StageFailed, match="no verdict"):
            launch(study, [data], tmp_path, Site(cluster="local"))
    finally:
        os.umask(before)
        os.environ.clear()
        os.environ.update(environment)
    files = [path for path in (tmp_path / data.folder).rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}
    for path in (tmp_path / "jobs/code").rglob("*"):
        assert not path.stat().st_mode & 0o022, path
    assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o700
    assert users_umask() == before
    for path in (tmp_path / "jobs").glob("*_submitted.pkl"):
        assert not path.stat().st_mode & 0o022
        assert vars(start.load(path).function)["root"] == str(tmp_path)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("export HF_TOKEN=abc", "HF_TOKEN"),
        ('module load x; MY_API_KEY="abc" y', "MY_API_KEY"),
        ("y --password=abc", "password"),
        ("x=1; declare -x JWT='abc'", "JWT"),
    ],
)
def test_no_secret_in_a_batch_script(line: str, name: str) -> None:
    site = Site(cluster="slurm", setup=(line,))
    with pytest.raises(InputError, match=f"setup: sets {name}, .*cat FILE") as refusal:
        parameters("train-1", site.train, site)
    assert "abc" not in str(refusal.value)


def test_a_line_that_reads_a_secret_is_accepted() -> None:
    lines = (
        'export HF_TOKEN="$(cat ~/.token)"',
        "export MY_KEY=$KEY",
        "export A=1",
        "b --token ''",
    )
    site = Site(cluster="slurm", setup=lines)
    assert parameters("train-1", site.train, site)["setup"][1:] == list(lines)


LOAD = """
from pipeline.runtime import native
print(native.library("pipeline.images", "area.cpp", ()))
"""
EVIL = """
#include <cstdio>
__attribute__((constructor)) void run() { fopen("MARK", "w"); }
"""


@pytest.mark.processes
def test_a_changed_library_is_built_again(tmp_path: Path) -> None:
    """It is not loaded, as loading runs what is in it."""
    if native.compiler() != ["g++"]:
        pytest.skip("no g++")
    rng, contents, folder = random.Random(0), set(), tmp_path / "going-deeper"
    command = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", str(tmp_path / "evil.so")]
    subprocess.run(command, input=EVIL.replace("MARK", f"{tmp_path}/mark"), text=True, check=True)
    for attempt in range(amount(4, 30)):
        process = subprocess.run(
            [sys.executable, "-c", LOAD],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
            cwd=TOP,
            capture_output=True,
            text=True,
            check=False,
        )
        (library,) = folder.glob("*.so")
        assert str(library) in process.stdout, process.stderr
        contents.add(library.read_bytes())
        if attempt == 0:
            library.write_bytes((tmp_path / "evil.so").read_bytes())
        elif attempt == 1:
            next(folder.glob("*.sha256")).unlink()
        else:
            _flip(library, rng)
    assert len(contents) == 1
    assert not (tmp_path / "mark").exists()
