"""What a study will cost follows from what was run."""

from pathlib import Path

import pytest

from pipeline.artefacts import provenance, sealing
from pipeline.artefacts.measurements import (
    Classification,
    EvaluateFacts,
    ScalingFacts,
    ScalingPoint,
    TrainFacts,
    Training,
)
from pipeline.configs.benchmark import BenchmarkConfig, ScalingConfig
from pipeline.configs.compare import table3
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.runtime.device import Device
from pipeline.stages.prepare import prepare
from pipeline.stages.report import benchmarks_of
from pipeline.tools.forecast import Cost, forecast, in_words, total_in_words
from slurm.budget import budget
from slurm.site import Site
from tests.sealed import seal


def of_one(run: TrainConfig, **more: object) -> tuple[Study, EvaluateConfig]:
    evaluation = EvaluateConfig.model_validate({"data": run.data, "classifier": run, **more})
    return (
        Study(name="one", title="One", check=CheckConfig(results=table3((evaluation,)))),
        evaluation,
    )


def test_cost_is_of_the_same_work(
    tmp_path: Path, data: PrepareConfig, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 24 training images in batches of 8, so an epoch has 3 steps, and 15
    validation images.
    """
    monkeypatch.setattr(provenance, "processor", lambda: "")
    longer = run_config.but(data_seed=7, num_epochs=10)
    study, evaluation = of_one(longer)
    assert set(forecast(study, tmp_path).values()) == {Cost(None)}
    prepare(data, tmp_path, processes=1)
    assert set(forecast(study, tmp_path).values()) == {Cost(None)}
    seal(run_config, tmp_path, steps=12, core_or_gpu_hours=0.5)
    earlier = EvaluateConfig(data=data, classifier=run_config, policies=("crops_1", "crops_10"))
    seal(earlier, tmp_path, num_images=15, core_or_gpu_hours=0.25)
    costs = forecast(study, tmp_path)
    assert costs[longer.hash].hours == pytest.approx(0.5 * 30 / 12)
    assert costs[evaluation.hash].hours == pytest.approx(0.25 * 144 / 10)
    wider, its_evaluation = of_one(longer.but(network=NetworkConfig(input_size=42, width=0.25)))
    assert set(forecast(wider, tmp_path).values()) == {Cost(None)}
    assert total_in_words([*costs.values(), Cost(None)]).startswith(
        "4.8 h of a core, and 1 stage of unknown cost"
    )
    assert in_words(costs[longer.hash], 4, Device("core")) == "1.2 h of a core, 19 min on 4 such"
    assert in_words(costs[longer.hash], 8, Device("GPU")) == "1.2 h of a core; of a GPU unknown"
    assert its_evaluation.hash not in costs


def test_one_device_forecasts_no_other(
    tmp_path: Path, data: PrepareConfig, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two GPUs and two processors have each their rate, and a GPU of no name has
    another's never.
    """
    monkeypatch.setattr(provenance, "processor", lambda: "Xeon")
    prepare(data, tmp_path, processes=1)
    study, _ = of_one(run_config)
    made_on: tuple[tuple[float, dict[str, object]], ...] = (
        (1.0, {"device": "cpu"}),  # before names
        (2.0, {"device": "cuda:0", "hardware": {"name": "A100"}}),
        (3.0, {"device": "cuda", "hardware": {"name": "H100"}}),
        (4.0, {"device": "cpu", "hardware": {"name": "EPYC"}}),
        (5.0, {"device": "cuda"}),
    )
    for seed, (hours, facts) in enumerate(made_on, start=1):
        seal(run_config.but(data_seed=seed), tmp_path, steps=12, core_or_gpu_hours=hours, **facts)
    places = [Device("core", "Xeon"), Device("GPU", "A100"), Device("GPU", "H100")]
    for hours, here in zip((1, 2, 3, 4), [*places, Device("core", "EPYC")], strict=True):
        assert forecast(study, tmp_path, here)[run_config.hash] == Cost(hours, here)
    other = Device("GPU", "B200")
    cost = forecast(study, tmp_path, other)[run_config.hash]
    assert in_words(cost, None, other) == "5.0 h of a GPU; of a GPU (B200) unknown"


def test_benchmarks_stand_in_for_runs(tmp_path: Path) -> None:
    """ImageNet's size is known before it is prepared.

    A benchmark of a narrower network says nothing of it, nor does one without ours.
    """
    data = PrepareConfig(source="ilsvrc2012", name="imagenet")
    run = TrainConfig(data=data, num_epochs=1, precision="bf16")
    quartiles, measurement = (1.0, 1.0, 1.0), BenchmarkConfig(what="train")
    facts = TrainFacts(
        input_size=224,
        rounds=1,
        batch=32,
        contenders={
            name: Training(text="", images_per_second=(1.0, speed, 99.0))
            for name, speed in (("ours bf16", 36.0), ("ours fp32", 18.0))
        },
        step_times_torchvision=quartiles,
        step_fp32_times_torchvision=quartiles,
        step_times_torchvision_switched=quartiles,
        loader_times_peer=quartiles,
        overhead_of_loading=quartiles,
    )
    sealing.TRAIN_BENCHMARK.seal(measurement, tmp_path, [], facts)
    contender = Classification.model_validate(
        {
            **dict.fromkeys(Classification.model_fields, quartiles),
            "text": "",
            "cpu": None,
            "batch": None,
            "largest_difference": 0.0,
            "images_per_second": (0.1, 0.5, 0.9),
        }
    )
    names = [f"ours {name}" for name in ("bf16", "bf16 compiled", "fp32", "fp32 compiled")]
    of_crops = EvaluateFacts(
        input_size=224,
        rounds=1,
        num_images=4,
        gflop_per_image=1.0,
        peak_gflops={},
        contenders=dict.fromkeys(names, contender),
        speed_beside_a_busy_process=quartiles,
        cores=1,
    )
    sealing.EVALUATE_BENCHMARK.seal(BenchmarkConfig(what="evaluate"), tmp_path, [], of_crops)
    without = of_crops.model_copy(update={"contenders": {"naive": contender}})
    only_naive = BenchmarkConfig(what="evaluate", only=("naive",))
    sealing.EVALUATE_BENCHMARK.seal(only_naive, tmp_path, [], without)
    quick = Training(text="", images_per_second=(99.0, 99.0, 99.0))
    of_narrow = facts.model_copy(update={"contenders": dict.fromkeys(facts.contenders, quick)})
    sealing.TRAIN_BENCHMARK.seal(measurement.but(width=0.5), tmp_path, [], of_narrow)
    # a report shows those too that have no CPU time: older ones, and a GPU's
    whats = [benchmark.what for benchmark in benchmarks_of(tmp_path)]
    assert whats == ["evaluate", "evaluate", "train", "train"]
    study, evaluation = of_one(run, precision="bf16")
    assert forecast(study, tmp_path)[evaluation.hash].hours == pytest.approx(50_000 / 0.5 / 3600)
    assert forecast(study, tmp_path)[run.hash].hours == pytest.approx(
        1_281_167 / 36 / 3600, rel=1e-4
    )
    assert forecast(of_one(run.but(precision="fp32"))[0], tmp_path)[
        run.but(precision="fp32").hash
    ].hours == pytest.approx(1_281_167 / 18 / 3600, rel=1e-4)


def scaled(root: Path, site: str = "", kind: str = "GPU", precision: str = "bf16") -> None:
    """Seal a scaling benchmark of a device that computes 1,000 images a second."""
    quick = (0.01, 0.01, 0.01)
    facts = ScalingFacts(
        input_size=112,
        rounds=1,
        kind=kind,
        device="H100",
        loaders=7,
        gradient_bytes=53_513_120,
        points=[
            ScalingPoint(
                ranks=1,
                images=32,
                seconds=quick,
                apart_seconds=quick,
                fed_seconds=quick,
                loader_images_per_second=(500.0, 500.0, 500.0),
            )
        ],
        model=(0.0, 0.001, 0.0, 0.01),
        held_out=None,
        gflop_per_image=1.0,
        peak_gflops=1.0,
        crops_per_second=(4000.0, 4000.0, 4000.0),
        peers={},
    )
    fields = {"input_size": 112, "ranks": (1,), "batches": (32,), "precision": precision}
    config = ScalingConfig.model_validate({**fields, "site": site})
    sealing.SCALING_BENCHMARK.seal(config, root, [], facts)


def test_a_benchmark_is_scaled_to_size_batch_and_ranks(tmp_path: Path) -> None:
    """Four times the pixels are four times the work; the sum of gradients over 8 ranks
    takes 2 x 7 / 8 of its seconds; a slow loader bounds a step.
    """
    images = PrepareConfig(source="ilsvrc2012", name="ilsvrc2012")
    run = TrainConfig(data=images, num_epochs=1, global_batch_size=1024, precision="bf16")
    study, evaluation = of_one(run, precision="bf16")
    assert set(forecast(study, tmp_path).values()) == {Cost(None)}
    scaled(tmp_path)
    costs = forecast(study, tmp_path, ranks={"train": 8, "evaluate": 8})
    steps = round(1_281_167 / 1024)
    wall = steps * (128 * 4 * 0.001 + 2 * 7 / 8 * 0.01) / 3600
    known = costs[run.hash]
    assert (known.basis, known.device) == ("scaled", Device("GPU", "H100"))
    assert known.wall_hours == pytest.approx(wall)
    assert known.hours == pytest.approx(8 * wall)
    assert costs[evaluation.hash].wall_hours == pytest.approx(50_000 * 144 / 1000 / 8 / 3600)
    assert "on 8 such, scaled from benchmark scaling" in in_words(known, 8, Device("GPU"))
    tiny = run.but(network=NetworkConfig(input_size=42))  # too small to be alike
    assert set(forecast(of_one(tiny, precision="bf16")[0], tmp_path).values()) == {Cost(None)}
    small = run.but(network=NetworkConfig(input_size=84))
    (cost, *_) = forecast(of_one(small, precision="bf16")[0], tmp_path, ranks={"train": 8}).values()
    assert cost.wall_hours == pytest.approx(steps * 128 / 500 / 3600)
    # another precision, or another machine, says nothing
    assert set(forecast(of_one(run.but(precision="fp32"))[0], tmp_path).values()) == {Cost(None)}
    for other in (Device("core", "CPU"), Device("core"), Device("GPU", "A100")):
        assert set(forecast(study, tmp_path, other).values()) == {Cost(None)}
    assert set(forecast(study, tmp_path, Device("GPU")).values()) != {Cost(None)}


def test_a_budget_counts_jobs_hours_disk_rows_and_money(tmp_path: Path) -> None:
    images = PrepareConfig(source="ilsvrc2012", name="ilsvrc2012")
    run = TrainConfig(data=images, num_epochs=90, global_batch_size=1024, precision="bf16")
    study, _ = of_one(run, precision="bf16")
    scaled(tmp_path)
    site = Site.model_validate(
        {
            "cluster": "slurm",
            "price_per_hour": 2.0,
            "currency": "EUR",
            "watts": 700.0,
            "prepare": {"array": 8},
            "train": {"tasks_per_node": 8, "gpus_per_node": 8, "timeout_min": 480},
        }
    )
    costs = forecast(study, tmp_path, ranks=site.num_ranks())
    lines = "\n".join(budget(study, tmp_path, costs, site))
    wall = sum(cost.wall_hours or 0 for cost in costs.values())
    hours = sum(cost.hours or 0 for cost in costs.values())
    # a preparation and an array of 8, a training, an evaluation, the conclusion
    assert f"jobs: 12; {wall:,.1f} h from end to end" in lines
    assert "a train job reaches its limit of 480 min and goes on, 3 times in all" in lines
    assert f"bill: {2 * hours:,.0f} EUR, {0.7 * hours:,.0f} kWh" in lines
    assert "disk: some 155.4 GB, 155.9 GB while all train; W&B: 5,721 rows" in lines
    assert "more than max_timeouts = 1 allows" in "\n".join(
        budget(study, tmp_path, costs, site.but(max_timeouts=1))
    )
    unknown = dict.fromkeys(costs, Cost(None))
    assert budget(study, tmp_path, unknown, site)[0] == "jobs: 12"
