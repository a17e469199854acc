"""What each network of a study measures by itself, also without the images of a list,
and the verdicts on what its authors published (paper/family.toml).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.artefacts.check_facts import NetworkErrors
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Verdict
from pipeline.configs.blacklist import Blacklist
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.study import CheckConfig
from pipeline.paper.family import NOT_BLACKLISTED, NUMBERS, Number, weights_of
from pipeline.paper.policies import in_crops, label_of
from pipeline.sources.recognition import VAL_ID
from pipeline.stages import comparable
from pipeline.stages.comparable import Comparability
from pipeline.stages.tolerances import against
from pipeline.statistics.inference import wilson


class Measured(NamedTuple):
    """Where the true label ranks for one network, in every image of a study."""

    network: str
    policy: str
    member: EvaluateConfig | None  # None for an ensemble
    rank: np.ndarray

    def error(self, top: int, counted: np.ndarray | None = None) -> float:
        """Return the share of errors, of all images or of those counted."""
        return float((self._of(counted) >= top).mean())

    def errors(self, top: int, counted: np.ndarray | None) -> int:
        """Return the number of errors."""
        return int((self._of(counted) >= top).sum())

    def _of(self, counted: np.ndarray | None) -> np.ndarray:
        return self.rank if counted is None else self.rank[counted]


def networks_errors(config: CheckConfig, root: Path) -> list[NetworkErrors]:
    """Return the errors of each member, and of each ensemble, by each policy."""
    results = [Result(result, root) for result in config.results]
    counted = not_blacklisted(results[0].image_ids, config.blacklist)
    return [
        NetworkErrors(
            network=each.network,
            policy=each.policy,
            num_images=len(each.rank),
            top1_error=each.error(1),
            top5_error=each.error(5),
            num_counted=None if counted is None else int(counted.sum()),
            counted_top1_error=None if counted is None else each.error(1, counted),
            counted_top5_error=None if counted is None else each.error(5, counted),
        )
        for each in measurements(results)
    ]


def measurements(results: Sequence[Result]) -> list[Measured]:
    """Return what each network of the results did, each once for each policy."""
    measured: dict[tuple[str, str], Measured] = {}
    for result in results:
        config = result.config
        for place, member in enumerate(config.members):
            rank = result.hits(f"rank_member_{place}")
            name = member.classifier.label.partition(",")[0]
            one = Measured(name, config.policy, member, rank)
            measured.setdefault((member.hash, config.policy), one)
    for result in results:
        if result.config.num_models > 1:
            name, rank = f"{result.config.num_models} models", result.hits("rank")
            several = Measured(name, result.config.policy, None, rank)
            measured[result.config.hash, result.config.policy] = several
    return list(measured.values())


def not_blacklisted(image_ids: Sequence[str], blacklist: Blacklist | None) -> np.ndarray | None:
    """Return whether each image counts; None without a list, or where the names of the
    images do not say their numbers.
    """
    numbers = [int(name[1]) for name in map(VAL_ID.search, image_ids) if name]
    if blacklist is None or len(numbers) < len(image_ids):
        return None
    return ~np.isin(numbers, list(blacklist.numbers()))


def family_verdicts(config: CheckConfig, root: Path) -> list[Verdict]:
    """Return the verdicts on both errors of every published pair."""
    results = [Result(result, root) for result in config.results]
    data = comparable.recognised(results[0], root)
    if len({member.data.hash for result in config.results for member in result.members}) > 1:
        data = Comparability("the study's results are of several data sets", "")
    counted = not_blacklisted(results[0].image_ids, config.blacklist)
    measured = {
        (each.member.classifier.arch, each.policy): each
        for each in measurements(results)
        if each.member
    }
    return [v for number in NUMBERS for v in _verdicts(number, measured, data, counted)]


def _verdicts(
    number: Number,
    measured: Mapping[tuple[str, str], Measured],
    data: Comparability,
    counted: np.ndarray | None,
) -> Iterator[Verdict]:
    beside = _comparability(number, measured, data, counted)
    only = counted if number.split == NOT_BLACKLISTED else None
    for top, published, tolerance in (
        (1, number.top1_error, number.tolerance),
        (5, number.top5_error, number.top5_tolerance),
    ):
        split = ", not blacklisted" if number.split == NOT_BLACKLISTED else ""
        verdict = Verdict(
            claim=f"{number.id}{'a' if top == 1 else 'b'}",
            text=f"{number.name}{split}: top-{top} error {100 * published:.2f} %",
            kind="error",
            decision="not_run",
            words=beside.obstacle,
            metric=f"top{top}_error",
            published=published,
            tolerance=tolerance,
        )
        if beside.obstacle:
            yield verdict
            continue
        network = measured[number.weights, number.policy]
        total = len(network.rank) if only is None else int(only.sum())
        remark = beside.remark
        if only is not None:
            remark = (
                f"on the {total:,} images that are not on the blacklist, and"
                f" {100 * network.error(top):.2f} % on all {len(network.rank):,}; {remark}"
            )
        interval = wilson(network.errors(top, only), total)
        yield against(verdict, network.error(top, only), interval, remark)


def _comparability(
    number: Number,
    measured: Mapping[tuple[str, str], Measured],
    data: Comparability,
    counted: np.ndarray | None,
) -> Comparability:
    weights = weights_of(number.weights)
    if weights is None:
        return Comparability(number.lacks, "")
    if weights.arch not in {arch for arch, _ in measured}:
        return Comparability(f"the study has no weights {weights.file}", "")
    network = measured.get((weights.arch, number.policy))
    if network is None or network.member is None:
        crops = in_crops(label_of(number.policy))
        return Comparability(f"the study has no result for {weights.name}, {crops}", "")
    whole = comparable.as_owners(network.member, weights, data)
    if number.split == NOT_BLACKLISTED and counted is None and not whole.obstacle:
        return Comparability(
            "the published number is for the validation images that are not on ILSVRC-2014's"
            " blacklist, which the study does not name (--blacklist)",
            "",
        )
    return whole
