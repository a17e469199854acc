"""A study from one command as a user runs it: killed, interrupted, failed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import EXPERIMENT, TOP, Finished, contents, going_deeper, in_process


def test_a_study_from_one_command_and_again(finished: Finished) -> None:
    """The fixture makes the first run. The second does nothing, and touches nothing."""
    command = (
        "run",
        finished.experiment,
        "--data",
        finished.data,
        "--root",
        finished.root,
        "--processes",
        2,
    )
    assert "Fewer than 25 classes: claims are judged on the top-1 error." in finished.said.stdout
    assert "not run: R1 " in finished.said.stdout
    (page,) = finished.root.glob("reports/tiny-*/report.html")
    assert finished.said.stdout.strip().endswith(f"report: {page}")
    html = page.read_text()
    assert html.count("<svg") == 7  # errors by crops and by size, and five of the trainings
    assert not re.search(r'src="(?!data:image/jpeg;base64,)', html)
    assert 'href="data:,"' in html

    before = {path: path.stat().st_mtime_ns for path in finished.root.rglob("*")}
    started = time.monotonic()
    again = going_deeper(*command)
    assert again.returncode == 0
    assert "nothing to do: all 13 stages of tiny are complete" in again.stdout
    assert time.monotonic() - started < 10
    assert {path: path.stat().st_mtime_ns for path in finished.root.rglob("*")} == before

    planned = in_process(
        "plan", finished.experiment, "--members", 3, "--root", finished.root
    ).stdout
    assert planned.count("complete  train") == 2
    assert planned.count("missing   train") == 1


def test_a_report_is_made_again_from_what_is_published(finished: Finished, tmp_path: Path) -> None:
    """publish, report and recount make the same RESULTS.md from the small files alone,
    to the byte.
    """
    root, data = finished.copy(tmp_path), ("--data", finished.data)
    reported = in_process(
        "report", finished.experiment, "--root", root, "--into", tmp_path / "published"
    )
    assert reported.returncode == 0, reported.stderr
    results = (tmp_path / "published" / "RESULTS.md").read_text()
    assert "| 1 | 144 | 7.89 % |" in results
    assert "| R6a |" in results

    kept = tmp_path / "kept"
    published = in_process("publish", finished.experiment, *data, "--root", root, "--to", kept)
    assert (published.returncode, published.stderr) == (0, "")
    assert re.fullmatch(rf"\d+ files, \d+\.\d MB, in {kept}\n", published.stdout)
    assert not [path for path in kept.rglob("*") if path.suffix in (".safetensors", ".arrow")]
    counted = in_process("recount", finished.experiment, "--root", kept)
    assert (counted.returncode, counted.stderr) == (0, "")
    assert re.fullmatch(r"\d+ figures are what the hits give\n", counted.stdout)
    in_process("report", finished.experiment, "--root", kept, "--into", tmp_path / "again")
    assert (tmp_path / "again" / "RESULTS.md").read_text() == results
    hits = min(kept.glob("predictions/*/hits.parquet"))
    hits.write_bytes(hits.read_bytes()[:-1])
    counted = in_process("recount", finished.experiment, "--root", kept)
    assert counted.returncode == 3
    assert counted.stderr.startswith(f"going-deeper: {hits}: is damaged (digest ")


@pytest.mark.slow  # a study is begun, killed and finished
def test_killed_and_run_again_it_finishes_with_the_same_results(
    finished: Finished, tmp_path: Path
) -> None:
    """SIGKILL ends the command while it trains; the same command then goes on, to the
    same bytes.
    """
    command = (
        "run",
        finished.experiment,
        "--data",
        finished.data,
        "--members",
        1,
        "--root",
        tmp_path,
        "--processes",
        2,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, command)], cwd=TOP, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("runs/*/run.json"))
    deadline = time.monotonic() + 60
    while (resumed := going_deeper(*command)).returncode == 2 and time.monotonic() < deadline:
        # the killed command's ranks are still ending
        assert "is being made already by process" in resumed.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert_part_of(finished, tmp_path)


@pytest.mark.slow  # each stage is a job, with a Python of its own
def test_jobs_of_this_machine_give_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    site_file, root = tmp_path / "site.toml", tmp_path / "root"
    site_file.write_text(
        'cluster = "local"\n[train]\ntasks_per_node = 2\n[evaluate]\ntasks_per_node = 2\n'
    )
    arguments = (
        "run",
        finished.experiment,
        "--data",
        finished.data,
        "--members",
        1,
        "--root",
        root,
    )
    on_site = in_process(*arguments, "--site", site_file)
    assert on_site.returncode == 0, on_site.stderr
    assert_part_of(finished, root)


def assert_part_of(finished: Finished, root: Path) -> None:
    """Check a study of the first member alone: its weights and probabilities are those
    of the finished study, to the byte.
    """
    files, expected = contents(root), contents(finished.root)
    assert len([path for path in files if path.parts[0] == "runs"]) == 3
    assert len([path for path in files if path.parts[0] == "predictions"]) == 3
    assert all(
        expected[path] == content for path, content in files.items() if path.parts[0] != "results"
    )


@pytest.mark.slow  # a study here, and as jobs
def test_a_failed_stage_is_one_line_and_exit_code_3(
    experiment: Path, image_folder: Path, tmp_path: Path
) -> None:
    """The line says what diverged and what to do, here and as a job. There is no
    traceback and no name of a class.
    """
    experiment.write_text(
        EXPERIMENT.replace("num_epochs=epochs", "num_epochs=epochs, learning_rate=1e9")
    )
    arguments = ("run", experiment, "--data", image_folder, "--members", 1, "--root")
    failed = going_deeper(*arguments, tmp_path / "here", "--processes", 2)
    assert failed.returncode == 3
    lines = [
        line
        for line in failed.stderr.splitlines()
        if not line.startswith(("prepare", "train", "["))
    ]
    assert len(lines) == 1
    assert re.fullmatch(
        r"going-deeper: \S+: loss is (nan|inf) at step \d+; lower learning_rate, or set a lower"
        r" clip_norm; .*",
        lines[0],
    )
    site = in_process(*arguments, tmp_path / "site", "--site", TOP / "slurm/sites/local.toml")
    assert site.returncode == 3
    lines = site.stderr.strip().splitlines()
    assert any(
        re.match(r"train-\w+: failed: \S+: loss is (nan|inf) at step .*lower learning_rate", line)
        for line in lines
    )
    assert re.match(
        r"going-deeper: tiny: no verdict, as these are missing: train \w+, evaluate \w+; 0 of its"
        r" results",
        lines[-1],
    )
    assert "Traceback" not in site.stderr + "".join(
        path.read_text() for path in tmp_path.glob("site/jobs/*_log.err")
    )


def test_a_mistake_of_ours_says_where_to_find_it(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user sees a traceback, and a file with it to send."""

    def mistaken(*_: object, **__: object) -> None:
        raise KeyError("step")

    monkeypatch.setattr("pipeline.commands.plan.refuse_wrong", mistaken)
    failed = in_process("plan", finished.experiment, "--root", finished.root)
    assert failed.returncode == 3
    assert "Traceback" in failed.stderr
    last = failed.stderr.splitlines()[-1]
    match = re.fullmatch(
        r"going-deeper: a mistake of ours: KeyError: 'step'; please report it with the file (\S+)",
        last,
    )
    assert match, last
    report = Path(match[1])
    assert f"going-deeper plan {finished.experiment}" in report.read_text()
    assert "in mistaken" in report.read_text()
    report.unlink()


@pytest.mark.processes
def test_interrupt_is_said_in_one_line(
    experiment: Path, image_folder: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        experiment,
        "--data",
        image_folder,
        "--root",
        tmp_path / "root",
    ]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=TOP,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background jobs ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("root/runs/*/checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "SIGTERM: saved after step" in messages
    assert (
        messages.strip().splitlines()[-1]
        == "going-deeper: interrupted; the same command goes on from here"
    )
    assert "Traceback" not in messages
