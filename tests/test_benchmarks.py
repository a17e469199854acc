"""going-deeper benchmark: every contender runs, and they agree."""

import io
import json
import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import models

from pipeline.artefacts.dataset import Split
from pipeline.benchmarks import contenders, full_scale, peers, pools, streams
from pipeline.benchmarks import evaluate as benchmark
from pipeline.benchmarks.contenders import CONTENDERS
from pipeline.benchmarks.scaling_peers import torchvision_googlenet
from pipeline.benchmarks.turns import closest, photograph_shard, times_as_fast
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.errors import StageFailed
from pipeline.paper.googlenet import GoogLeNet
from pipeline.stages.report import benchmarks_of
from tests.commands import in_process

SECONDS = st.floats(0.01, 100)
ROUNDS = st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1, max_size=9)


@pytest.mark.slow  # six processes that import torch, one of which compiles
def test_contenders_agree_with_the_naive_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compiled contender stands for all, as they differ by their compiler alone.
    The figures are in a file.
    """
    names = ("naive", "careful compiled", "onnxruntime fp32", "ours fp32", "ours bf16")
    some = {name: CONTENDERS[name] for name in names}
    monkeypatch.setattr(contenders, "CONTENDERS", some)
    monkeypatch.setattr(benchmark, "FASTEST", "ours bf16")
    monkeypatch.setattr(benchmark, "NEIGHBOUR_ROUNDS", 2)
    only = ("--only", "careful", "--only", "onnxruntime", "--only", "ours")
    small = ("--input-size", 42, "--width", 0.25, "--rounds", 1)
    process = in_process("benchmark", "evaluate", *small, *only, "--root", tmp_path)
    assert process.returncode == 0, process.stderr
    (path,) = tmp_path.glob("benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert str(path) in process.stdout
    shown = re.findall(r"^(\S.*?) {2,}[\d.]+  \(", process.stdout, re.MULTILINE)
    assert shown == list(facts["contenders"]) == list(names)
    for name, contender in facts["contenders"].items():
        assert contender["largest_difference"] < (5e-3 if "bf16" in name else 1e-6), name
        assert 0 < contender["preprocessing_share"][1] < 1
        assert contender["cpu"]["times_naive"][1] > 0
    assert facts["contenders"]["naive"]["times_naive"] == [1, 1, 1]
    assert facts["leads"]["ours fp32"]["peer"] in names[:3]
    assert "ours bf16" not in facts["leads"]  # no peer of its precision took part
    assert f"MALLOC_MMAP_THRESHOLD_={2**30}" in process.stdout
    (kept,) = benchmarks_of(tmp_path)
    assert kept.text in process.stdout
    assert facts["speed_beside_a_busy_process"][1] > 0


def test_only_some_contenders_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The naive one is always there; a runtime that is not installed has a line."""
    monkeypatch.setattr(contenders, "find_spec", lambda name: None)
    config = BenchmarkConfig(what="evaluate", only=("openvino", "torch"))
    some, lines = contenders.chosen(config)
    assert [name.split()[0] for name in some] == ["naive", *["torch"] * 4]
    assert lines == ["openvino: not installed; pip install 'going-deeper[peers]'"]
    every, lines = contenders.chosen(BenchmarkConfig(what="evaluate"))
    assert len(every) == len(CONTENDERS) - 3
    assert [line.split(":")[0] for line in lines] == ["onnxruntime", "openvino"]


def test_a_runtime_that_fails_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(worker: object, name: str, number: int) -> None:
        if name == "openvino fp32":
            raise StageFailed(f"benchmark: {name!r} failed: no such pool")

    monkeypatch.setattr(benchmark, "ask", fail)
    some = {name: CONTENDERS[name] for name in ("naive", "onnxruntime fp32", "openvino fp32")}
    workers = dict.fromkeys(some)
    benchmark.drop_failing(some, workers)  # type: ignore[arg-type]
    assert list(some) == list(workers) == ["naive", "onnxruntime fp32"]
    assert capsys.readouterr().err == (
        "benchmark: 'openvino fp32' failed: no such pool; it is left out\n"
    )


def test_peers_cut_the_same_crops(tmp_path: Path) -> None:
    split = Split([photograph_shard(tmp_path, None, 1)])
    image = Image.open(io.BytesIO(split.encoded(0))).convert("RGB").resize((90, 70))
    first = torch.stack(list(peers.resized_each(image, 56)))
    assert len(first) == peers.CROPS
    for cut in (contenders.CAREFUL, peers.normalised_once):
        assert first.equal(torch.stack(list(cut(image, 56))))


def test_runtimes_compute_the_same_as_torch(tmp_path: Path) -> None:
    """Those that are installed do, at each size of batch."""
    config = BenchmarkConfig(what="evaluate", input_size=56, width=0.25)
    network = benchmark.untrained(config)
    benchmark.export(config, tmp_path / "network.onnx")
    task = peers.Task(network, tmp_path / "network.onnx", Split([]), torch.device("cpu"))
    runtimes: dict[str, Callable[[peers.Task], peers.Run]] = {
        "torch fp32": partial(peers.in_torch, channels_last=True),
        "torch bf16": partial(peers.in_torch, precision="bf16"),
        "onnxruntime fp32": peers.in_onnxruntime,
        "openvino fp32": partial(peers.in_openvino, precision="fp32"),
        "openvino bf16": partial(peers.in_openvino, precision="bf16"),
    }
    crops = torch.randn(6, 3, 56, 56)
    with torch.no_grad():
        expected = network(crops)
        for name, runtime in runtimes.items():
            if find_spec(name.split()[0]):
                run, within = runtime(task), 0.05 if "bf16" in name else 1e-5
                for size in (6, 2):
                    logits = torch.cat([run(part) for part in crops.split(size)])
                    assert (logits - expected).abs().max() < within * expected.abs().max(), name


@given(ROUNDS, SECONDS)
def test_other_work_leaves_ratios(rounds: list[tuple[float, float, float]], factor: float) -> None:
    """It slows all contenders of a round alike. All is relative to us."""
    ours, peer, slower = zip(*rounds, strict=True)
    times = times_as_fast(ours, peer)
    disturbed = [[s * by for s, by in zip(each, slower, strict=True)] for each in (ours, peer)]
    assert times_as_fast(*disturbed) == pytest.approx(times)
    assert times[0] <= times[1] <= times[2]
    assert times_as_fast(ours, ours) == (1, 1, 1)
    assert times_as_fast(ours, [factor * s for s in ours]) == pytest.approx([factor] * 3)
    # the fastest peer: against no other is our lead smaller
    named = {"peer": peer, "slower": slower, "us": ours}
    fastest = times_as_fast(ours, named[closest(ours, named)])[1]
    assert fastest == min(times_as_fast(ours, each)[1] for each in named.values())


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=4))
def test_a_batch_is_the_fastest_that_was_tried(seconds: list[float]) -> None:
    """The search ends where a larger batch is clearly slower."""
    tried: list[float] = []

    def measure(place: int) -> float:
        tried.append(seconds[place])
        return seconds[place]

    best = seconds[peers.fastest(range(len(seconds)), measure)]
    assert best == min(tried)
    assert len(tried) == len(seconds) or tried[-1] > peers.SLOWER * best


def test_torchvisions_network_has_our_width() -> None:
    usual = models.googlenet(num_classes=9, aux_logits=True, init_weights=False)
    shapes = {name: weight.shape for name, weight in usual.state_dict().items()}
    same = torchvision_googlenet(9).state_dict()
    assert {name: weight.shape for name, weight in same.items()} == shapes
    for width in (0.1, 0.25, 0.5, 1.25):
        network = torchvision_googlenet(9, width).train()
        assert {part.shape for part in network(torch.randn(2, 3, 42, 42))} == {(2, 9)}
        ours = GoogLeNet(9, width=width)
        shapes = {name: weight.shape for name, weight in network.state_dict().items()}
        assert shapes["conv3.conv.weight"] == ours.state_dict()["conv2.conv.weight"].shape
        assert shapes["fc.weight"] == ours.state_dict()["classifier.weight"].shape


@pytest.mark.slow  # nine processes that import torch
def test_a_training_step_beside_its_peers(tmp_path: Path) -> None:
    small = ("--input-size", 42, "--width", 0.25, "--rounds", 1)
    process = in_process("benchmark", "train", *small, "--root", tmp_path)
    assert process.returncode == 0, process.stderr
    (path,) = tmp_path.glob("benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert facts["width"] == 0.25
    assert all(contender["images_per_second"][1] > 0 for contender in facts["contenders"].values())
    shown = "our bf16 step: torchvision's with all our switches +"
    for times in (facts["cpu"], facts):
        low, median, high = times["step_times_torchvision_switched"]
        shown += rf"{median:.2f} \({low:.2f} to {high:.2f}\) *"
    assert re.search(shown, process.stdout)
    (kept,) = benchmarks_of(tmp_path)
    assert kept.text in process.stdout


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


@pytest.mark.processes
def test_pools_are_those_of_the_network() -> None:
    """Ratios are plausible; how fast they are is for a quiet machine."""
    ratios = pools.measure(rounds=1, networks=((42, 0.1, 2),))
    assert len(ratios) == 2 * len(pools.pools_of(42, 0.1, 2)) == 18
    assert [r.pool.norm for r in ratios[:5]] == ["last", "last", "first", "first", "none"]
    assert all(0.01 < ratio.times[1] < 100 for ratio in ratios)
    *_, last = pools.text(ratios)
    assert last == f"smallest: {min(ratio.times[1] for ratio in ratios):.2f}"


@pytest.mark.parametrize(("stride", "norm"), [(1, "none"), (2, "none"), (2, "first"), (2, "last")])
def test_contending_pools_compute_the_same(stride: int, norm: str) -> None:
    ours, torchs = pools.contenders(pools.Pool((2, 8, 6, 6), stride, norm))
    x = torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(ours(x), torchs(x))


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    wrong = in_process("benchmark", "evaluate", "--data", tmp_path / "nowhere", "--root", tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "nowhere: no such folder; expected one with images" in wrong.stderr
    wrong = in_process("benchmark", "evaluate", "--input-size", 43)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "going-deeper: input_size = 43: Input should be a multiple of 14\n",
    )


@pytest.mark.slow  # seventeen processes
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
