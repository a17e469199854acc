"""Ablations: arms are paired by seed and image, and all figures are checked against the
predictions themselves.
"""

import json
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError
from scipy import stats

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.configs.study import Study
from pipeline.stages.compare import compare
from pipeline.stages.report import report
from pipeline.statistics.inference import (
    across_seeds,
    bootstrap_interval,
    holm,
    mcnemar,
    paired_interval,
    sign_flip,
)
from pipeline.statistics.power import paired_images_to_decide, power_of_t, seeds_to_decide
from pipeline.tools.dashboard import contents_of


@pytest.fixture(scope="module")
def comparison(seven_members: Study) -> CompareConfig:
    members = seven_members.check.results[0].members
    arms = [
        Arm(name=name, members=members[k : k + 2])
        for k, name in ((0, "first"), (2, "second"), (4, "third"))
    ]
    return CompareConfig(question="Does the seed matter?", arms=tuple(arms))


def wrong(config: CompareConfig, root: Path) -> np.ndarray:
    """Return the errors of arms x seeds x images, from the predictions."""
    labels = Dataset(config.arms[0].members[0].data, root).split("val").labels
    scores = [
        [Predictions(member, root).probabilities(config.policy) for member in arm.members]
        for arm in config.arms
    ]
    return np.array(
        [[np.isnan(s[:, 0]) | (s.argmax(axis=1) != labels) for s in arm] for arm in scores]
    )


def test_differences_are_those_of_the_predictions(
    seven_root: Path, comparison: CompareConfig
) -> None:
    facts, errors = compare(comparison, seven_root), wrong(comparison, seven_root)
    assert facts.num_seeds == 2
    assert facts.decided_on == 1
    for row, of_arm in zip(facts.top1, errors, strict=True):
        assert row.errors == pytest.approx(of_arm.mean(axis=1))
        half = float(stats.t.ppf(0.975, 1)) * of_arm.mean(axis=1).std(ddof=1) / 2**0.5
        if half > 0:
            bounds = (max(0, of_arm.mean() - half), min(1, of_arm.mean() + half))
            assert row.error_interval == pytest.approx(bounds)
        assert row.difference == pytest.approx(of_arm.mean() - errors[0].mean())
    p_values = []
    for row, of_arm in zip(facts.top1[1:], errors[1:], strict=True):
        first, second = errors[0].mean(axis=1), of_arm.mean(axis=1)
        has_spread = np.ptp(second - first) > 1e-12
        p_values.append(float(stats.ttest_rel(second, first).pvalue) if has_spread else 1.0)
        assert row.p_value == pytest.approx(p_values[-1])
        assert row.interval_bootstrap is not None
        low, high = row.interval_bootstrap
        assert low - 1e-9 <= row.difference <= high + 1e-9
    assert [row.p_holm for row in facts.top1[1:]] == pytest.approx(holm(p_values))
    table = parquet.read_table(seven_root / comparison.folder / "hits.parquet")
    ranks = [[table[f"rank_{k}_{number}"].to_numpy() for number in range(2)] for k in range(3)]
    assert (np.array(ranks) >= 1).tolist() == errors.tolist()
    before = (seven_root / comparison.folder / comparison.last_file).stat().st_mtime_ns
    assert compare(comparison, seven_root) == facts
    assert (seven_root / comparison.folder / comparison.last_file).stat().st_mtime_ns == before


def test_one_seed_is_judged_over_images(seven_root: Path, seven_members: Study) -> None:
    members = seven_members.check.results[0].members
    config = CompareConfig(
        question="One seed?",
        arms=(Arm(name="a", members=members[:1]), Arm(name="b", members=members[1:2])),
        policy="crops_144",
    )
    row, errors = compare(config, seven_root).top1[1], wrong(config, seven_root)
    assert row.p_value == row.p_holm == mcnemar(errors[0, 0], errors[1, 0])
    assert row.test == "McNemar"
    assert row.spread is None


def test_the_report_shows_the_forest(
    seven_root: Path, seven_members: Study, comparison: CompareConfig
) -> None:
    compare(comparison, seven_root)
    fields = {
        "name": "ablation",
        "title": "An ablation",
        "check": seven_members.check,
        "comparisons": (comparison,),
    }
    study = Study.model_validate(fields)
    assert comparison in study.stages
    assert study.hash != seven_members.hash
    page = report(study, seven_root)
    text, results = page.read_text(), (page.parent / "RESULTS.md").read_text()
    row = compare(comparison, seven_root).top1[2]
    shown = f"{100 * row.difference:+.2f}"
    assert text.count("<svg") == 4
    assert shown in text
    assert "Does the seed matter?" in text
    assert f"| third | {100 * row.error:.2f} % |" in results
    assert f"| {shown} points |" in results
    assert (page.parent / "charts/ablation_1.svg").is_file()
    ablations = json.loads((page.parent / "tables.json").read_text())["ablations"]
    assert [(ablation["top"], ablation["arm"]) for ablation in ablations] == [
        (t, arm) for t in (1, 5) for arm in ("first", "second", "third")
    ]
    assert "| third |" in contents_of(study, seven_root).ablations


def test_arms_that_cannot_be_paired_are_refused(seven_members: Study) -> None:
    members = seven_members.check.results[0].members
    with pytest.raises(ValidationError, match="cannot be paired"):
        CompareConfig(
            question="?",
            arms=(Arm(name="a", members=members[:1]), Arm(name="b", members=members[1:3])),
        )
    with pytest.raises(ValidationError, match="names of their own"):
        CompareConfig(
            question="?",
            arms=(Arm(name="a", members=members[:1]), Arm(name="a", members=members[1:2])),
        )
    arms = (Arm(name="a", members=members[:1]), Arm(name="b", members=members[1:2]))
    with pytest.raises(ValidationError, match="crops_36"):
        CompareConfig(question="?", arms=arms, policy="crops_36")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_between_the_raw_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for raw, p in zip(p_values, corrected, strict=True):
        assert raw <= p <= min(1.0, len(p_values) * raw * (1 + 1e-12))
    in_order = [p for _, p in sorted(zip(p_values, corrected, strict=True))]
    assert in_order == sorted(in_order)


def test_the_bootstrap_has_the_width_of_its_normal_approximation() -> None:
    """Many seeds and images are drawn, with a known spread of both."""
    rng = np.random.default_rng(0)
    seeds, images = 40, 400
    differences = (
        0.02 + 0.05 * rng.standard_normal((seeds, 1)) + 0.3 * rng.standard_normal((1, images))
    )
    low, high = bootstrap_interval(differences)
    expected = (
        differences.mean(axis=1).var() / seeds + differences.mean(axis=0).var() / images
    ) ** 0.5
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.1)
    with pytest.raises(ValueError, match="one seed"):
        across_seeds(np.array([0.1]))


def test_the_best_of_each_arm_are_compared(seven_root: Path, comparison: CompareConfig) -> None:
    """The best has the lowest top-1 error at one crop, as the paper's single model."""
    errors = wrong(comparison, seven_root)
    best = [int(of_arm.mean(axis=1).argmin()) for of_arm in errors]
    for k, row in enumerate(compare(comparison, seven_root).top1):
        assert row.best is not None
        assert row.best.member == best[k]
        assert row.best.error == pytest.approx(errors[k][best[k]].mean())
        assert row.best.p_value == pytest.approx(mcnemar(errors[0][best[0]], errors[k][best[k]]))


def test_ensembles_are_compared_over_all_that_the_members_make(
    seven_root: Path, seven_members: Study
) -> None:
    members = seven_members.check.results[0].members
    arms = (Arm(name="a", members=members[:3]), Arm(name="b", members=members[3:6]))
    config = CompareConfig(question="Ensembles?", arms=arms, models=2, policy="crops_10")
    labels = Dataset(members[0].data, seven_root).split("val").labels
    errors = []
    for arm in arms:
        scores = [
            Predictions(member, seven_root).probabilities("crops_10").astype(float)
            for member in arm.members
        ]
        sums = [first + second for first, second in combinations(scores, 2)]
        errors.append(
            np.mean([np.isnan(s[:, 0]) | (s.argmax(axis=1) != labels) for s in sums], axis=0)
        )
    row = compare(config, seven_root).top1[1]
    assert len(row.errors) == 3
    assert row.difference == pytest.approx((errors[1] - errors[0]).mean())
    assert row.p_value == sign_flip(errors[1] - errors[0])
    assert row.interval == pytest.approx(paired_interval(errors[1] - errors[0]))
    # of one difference Holm changes nothing
    assert row.images_to_decide == paired_images_to_decide(errors[1] - errors[0])
    assert row.best is None
    with pytest.raises(ValidationError, match="models 4: an arm has 3 members"):
        config.but(models=4)


def test_arms_may_differ_in_their_crops(seven_root: Path, seven_members: Study) -> None:
    members = seven_members.check.results[0].members[:3]
    arms = tuple(
        Arm(name=policy, members=members, policy=policy) for policy in ("crops_1", "crops_144")
    )
    config = CompareConfig(question="More crops?", arms=arms)
    few, many = (
        wrong(config.but(arms=(arms[0], arms[1]), policy=policy), seven_root)[0]
        for policy in ("crops_1", "crops_144")
    )
    row = compare(config, seven_root).top1[1]
    assert row.difference == pytest.approx(many.mean() - few.mean())
    assert row.seeds_to_decide == seeds_to_decide(many.mean(axis=1) - few.mean(axis=1))


def test_seeds_to_decide_have_the_power_that_is_asked() -> None:
    """In a simulation, trainings whose differences vary as much find the mean four
    times of five.
    """
    differences = np.array([0.01, -0.004, 0.012, 0.002])
    seeds = seeds_to_decide(differences)
    assert seeds is not None
    drawn = np.random.default_rng(0).normal(
        differences.mean(), differences.std(ddof=1), size=(20_000, seeds)
    )
    power = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
    fewer = (stats.ttest_1samp(drawn[:, :-1], 0, axis=1).pvalue < 0.05).mean()
    assert fewer - 0.01 < 0.8 < power + 0.01
    assert seeds_to_decide(np.array([0.01])) is None
    assert seeds_to_decide(np.array([0.01, 0.01])) is None
    assert seeds_to_decide(np.array([1.0, -1.0, 0.01])) is None
    corrected = seeds_to_decide(differences, level=0.01)
    assert corrected is not None
    assert corrected > seeds


@given(st.floats(0.001, 1e4), st.sampled_from([0.05, 0.025, 0.005]))
def test_seeds_to_decide_are_the_fewest(effect: float, level: float) -> None:
    """For any effect, in standard deviations, the power is too low with one seed fewer,
    and it grows with the number of seeds.
    """
    seeds = seeds_to_decide(np.array([effect - 0.5**0.5, effect + 0.5**0.5]), level=level)
    powers = [power_of_t(effect, number, level) for number in (2, 3, 4, 10, 100, 1000, 10_000)]
    assert all(-1e-9 <= low <= high + 1e-9 <= 1 + 1e-6 for low, high in pairwise(powers))
    if seeds is None:
        assert powers[-1] < 0.8
    else:
        assert power_of_t(effect, seeds, level) >= 0.8
        assert seeds == 2 or power_of_t(effect, seeds - 1, level) < 0.8


def test_seeds_that_all_agree_leave_everything_possible() -> None:
    assert across_seeds(np.array([0.01, 0.01])) == (1.0, (-1.0, 1.0))


@pytest.mark.parametrize(
    ("discordant", "expected"), [(0.02, (517, 1053)), (0.03, (775, 1580)), (0.04, (1033, 2107))]
)
def test_paired_images_to_decide(discordant: float, expected: tuple[int, int]) -> None:
    """PAPER.md, section 4: 1.22 points apart."""
    better, worse = (
        round(10_000 * (discordant + 0.0122) / 2),
        round(10_000 * (discordant - 0.0122) / 2),
    )
    differences = np.repeat([1.0, -1.0, 0.0], [better, worse, 10_000 - better - worse])
    assert tuple(paired_images_to_decide(differences, power) for power in (0.5, 0.8)) == expected
    assert paired_images_to_decide(np.zeros(5)) is None
