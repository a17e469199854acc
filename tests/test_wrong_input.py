"""Wrong input is refused in one line, before any work."""

from pathlib import Path

import pytest

from tests.commands import Finished, in_process


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.py"], "nowhere.py: no such Python file"),
        (["run", "experiments/demo.py", "--mebers", "3"], "No such option"),
        (
            ["plan", "demo", "--root", "a", "--root", "b"],
            "--root is given 2 times; see going-deeper",
        ),
        (["plan", "demo", "--members", "1", "--members", "2"], "demo: --members is given 2 times"),
        (["benchmark", "train", "--images", "4", "--images", "8"], "--images is given 2 times"),
        (
            ["run", "experiments/caltech101.py"],
            "data set caltech101: no path given; pass --data FOLDER",
        ),
        (["run", "experiments/caltech101.py", "--data", "nowhere"], "nowhere: no such folder"),
        (
            ["run", "experiments/demo.py", "--site", "nowhere.toml"],
            "nowhere.toml: no such site file",
        ),
        (
            ["run", "experiments/demo.py", "--processes", "0"],
            "0 is not in the range 1<=x<=4096; see going-deeper run --help",
        ),
        (["run", "experiments/demo.py", "--site", "slurm/sites"], "slurm/sites: no such site file"),
        (
            ["run", "experiments/demo.py", "--processes", "7", "--members", "1"],
            "64 can be shared equally by 1, 2, 4 ranks",
        ),
        (
            ["plan", "experiments/demo.py", "--root", "README.md"],
            "README.md: is a file; --root takes a folder",
        ),
        (
            ["evaluate", "--arch", "googlenet", "--weights", "none.pth", "--data", "x"],
            "none.pth: no such weights file",
        ),
        (
            ["evaluate", "--arch", "googlenet", "--weights", "README.md", "--data", "x"],
            "cannot be read as a PyTorch state",
        ),
        (
            ["evaluate", "--arch", "googlenet", "--weights", "a", "--data", "x", "--mean", "1,2"],
            "is not three numbers",
        ),
        (
            ["export", "experiments/demo.py", "--into", "x"],
            "run.json: does not exist; run the train stage first",
        ),
        (["rnu"], "No such command 'rnu'"),
        (["report", "experiments/demo.py"], "nothing of demo with these options is there"),
        (
            ["report", "experiments/demo.py", "--into", "x"],
            "check.json: does not exist; run the check stage first",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    root = (
        ["--root", str(tmp_path / "root")]
        if len(arguments) > 1 and "--root" not in arguments
        else []
    )
    failed = in_process(*arguments, *root)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1 + failed.stderr.count("[1/")
    assert not list(tmp_path.rglob("*.json"))


def test_damaged_artefact_is_named(finished: Finished, tmp_path: Path) -> None:
    root = finished.copy(tmp_path)
    (manifest,) = root.glob("datasets/*/manifest.json")
    manifest.write_text(manifest.read_text()[:100])
    failed = in_process("run", finished.experiment, "--data", finished.data, "--root", root)
    assert failed.returncode == 2
    assert f"{manifest}: is damaged (" in failed.stderr
    assert f"remove {manifest}, and run makes it anew" in failed.stderr
    assert failed.stderr.count("\n") == 1
