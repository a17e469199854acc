"""going-deeper benchmark: every contender runs, and they agree."""

import json
import re
from pathlib import Path

import pytest

from pipeline.benchmarks import evaluate as benchmark
from pipeline.benchmarks import full_scale, streams
from pipeline.benchmarks.contenders import CONTENDERS
from tests.commands import in_process


@pytest.mark.slow  # six processes that import torch, one of which compiles
def test_contenders_agree_with_the_naive_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compiled contender stands for all, as they differ by their compiler alone.
    The figures are in a file.
    """
    chosen = ("naive", "naive, malloc", "careful compiled", "ours fp32", "ours bf16")
    monkeypatch.setattr(benchmark, "CONTENDERS", {name: CONTENDERS[name] for name in chosen})
    monkeypatch.setattr(benchmark, "FASTEST", "ours bf16")
    monkeypatch.setattr(benchmark, "NEIGHBOUR_ROUNDS", 2)
    process = in_process(
        "benchmark", "evaluate", "--input-size", 42, "--rounds", 1, "--root", tmp_path
    )
    assert process.returncode == 0, process.stderr
    (path,) = tmp_path.glob("benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert str(path) in process.stdout
    shown = [
        line.split("  ")[0]
        for line in process.stdout.splitlines()
        if re.match(r"(naive|careful|ours).* \(", line)
    ]
    assert shown == list(facts["contenders"]) == list(chosen)
    for name, contender in facts["contenders"].items():
        assert contender["largest_difference"] < (5e-3 if "bf16" in name else 1e-6), name
        assert 0 < contender["preprocessing_share"][1] < 1
    assert facts["contenders"]["naive"]["times_naive"] == [1, 1, 1]
    assert facts["contenders"]["naive, malloc"]["times_naive_tuned"] == [1, 1, 1]
    assert f"MALLOC_MMAP_THRESHOLD_={2**30}" in process.stdout
    assert facts["speed_beside_a_busy_process"][1] > 0


@pytest.mark.slow  # nine processes that import torch
def test_a_training_step_beside_its_peers(tmp_path: Path) -> None:
    process = in_process(
        "benchmark", "train", "--input-size", 42, "--rounds", 1, "--root", tmp_path
    )
    assert process.returncode == 0, process.stderr
    (path,) = tmp_path.glob("benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert all(contender["images_per_second"][1] > 0 for contender in facts["contenders"].values())
    times = facts["step_times_torchvision"][1]
    assert f"Our step: {times:.2f} times torchvision's as people run it" in process.stdout


@pytest.mark.slow  # eight seconds of a pretended device
def test_streams_keep_a_device_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """At rates that a busy machine keeps up with. Streams that drain after 32 images or
    open each twice and without a thread, reach 8 to 48 %.
    """
    rates = {"crops_144": 5000.0, "crops_10": 2000.0, "crops_1": 600.0}
    monkeypatch.setattr(streams, "RATES", rates)
    shares = {row.what: row.share for row in streams.measure(rounds=1, seconds=2.5)}
    assert list(shares) == [*(f"evaluation, {name}" for name in rates), "validation, two networks"]
    assert min(shares.values()) > 0.7, shares
    assert max(shares.values()) <= 1


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    wrong = in_process("benchmark", "evaluate", "--data", tmp_path / "nowhere", "--root", tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "nowhere: no such folder; expected one with images" in wrong.stderr
    wrong = in_process("benchmark", "evaluate", "--input-size", 43)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "going-deeper: input_size = 43: Input should be a multiple of 14\n",
    )


@pytest.mark.slow  # fifteen processes
def test_a_study_of_full_size_in_small(tmp_path: Path) -> None:
    """Every step has its line, and nothing is left."""
    process = in_process(
        "benchmark", "full-scale", "--train-images", 1000, "--val-images", 100, "--epochs", 1,
        "--folder", tmp_path,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    rows = [line.split() for line in process.stdout.splitlines()]
    assert [row[0] for row in rows] == ["step", *full_scale.TIMED]
    assert all(10 < float(row[3]) < 2000 for row in rows[1:])  # MB
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_scaling_is_measured_and_a_plan_uses_it(tmp_path: Path) -> None:
    """One and two ranks of this machine, at a size of no worth."""
    words = ("benchmark", "scaling", "--input-size", 42, "--width", 0.125, "--rounds", 1)
    more = ("--ranks", "1,2", "--batches", "2,4", "--no-peers", "--precision", "fp32")
    ended = in_process(*words, *more, "--root", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^ +2 +4 +\d+ %$", ended.stdout, re.MULTILINE)
    assert "Fitted without 2 ranks of 4 images, it says " in ended.stdout
    (path,) = tmp_path.glob("benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert [(point["ranks"], point["images"]) for point in facts["points"]] == [
        (1, 2),
        (1, 4),
        (2, 2),
        (2, 4),
    ]
    assert facts["gradient_bytes"] > 4e5
    assert not (path.parent / "ranks").exists()
    same = ("--set", "train.network.input_size=42", "--set", "train.network.width=0.125")
    shown = in_process("plan", "caffe_quick", *same, "--root", tmp_path).stdout
    assert re.search(r"train .* h of a core \(.*\), scaled", shown)
    wrong = ("--data", tmp_path / "no", "--root", tmp_path / "r")
    refused = in_process("benchmark", "scaling", *wrong)
    assert "no such folder" in refused.stderr
    assert not list((tmp_path / "r").glob("benchmarks/*"))
    refused = in_process("benchmark", "scaling", "--ranks", "1,x")
    assert refused.returncode == 2
    assert "no list of numbers such as 1,2,4" in refused.stderr
