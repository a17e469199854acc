"""A study of the published weights that lie in a folder."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pipeline.configs.blacklist import Blacklist
from pipeline.configs.compare import comparison, table3
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.network import Precision
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.errors import InputError
from pipeline.paper.family import WEIGHTS, Weights

MostCrops = Literal["1", "12", "144"]
# policies that suit every network; with 144 crops also those of a network's own papers
POLICIES: Mapping[MostCrops, tuple[str, ...]] = {
    "1": ("crops_1",),
    "12": ("crops_1", "crops_10", "v3_12"),
    "144": ("crops_1", "crops_10", "v3_12", "crops_144"),
}


def study_of_weights(
    name: str,
    images: PrepareConfig,
    folder: Path,
    blacklist: Blacklist | None = None,
    crops: MostCrops = "144",
    precision: Precision = "fp32",
) -> Study:
    """Return a study of the files in `folder` that have a name of paper/family.toml.

    Each network is evaluated at its own size, and judged by what its authors published.
    All are compared with the first, and averaged.

    Raises:
        InputError: there is no such file in the folder.
    """
    there = [weights for weights in WEIGHTS if (folder / weights.file).is_file()]
    if not there:
        raise InputError(
            f"{folder}: has no file of published weights; expected one or more of"
            f" {', '.join(weights.file for weights in WEIGHTS)} (--weights-folder)"
        )
    policies = POLICIES[crops]
    own = {policy for weights in there for policy in weights.policies if crops == "144"}
    members = {
        weights: _member(weights, folder, images, policies, crops == "144", precision)
        for weights in there
    }
    results = table3(tuple(members.values()), policies)
    for policy in sorted(own):
        results += table3(tuple(m for m in members.values() if policy in m.policies), (policy,))
    arms = {weights.name: (member,) for weights, member in members.items()}
    question = "Which network makes the fewest errors?"
    return Study(
        name=name,
        title=f"Published weights of {len(there)} network{'s' if len(there) > 1 else ''}",
        check=CheckConfig(results=results, family=True, blacklist=blacklist),
        comparisons=(comparison(question, arms, policies[-1]),) if len(there) > 1 else (),
    )


def _member(
    weights: Weights,
    folder: Path,
    images: PrepareConfig,
    policies: tuple[str, ...],
    with_own: bool,
    precision: Precision,
) -> EvaluateConfig:
    file = (folder / weights.file).absolute()
    classifier = ForeignConfig(
        arch=weights.arch,
        weights=file,
        sha256=_digest(file, "sha256"),
        sha1=_digest(file, "sha1") if file.suffix == ".caffemodel" else None,
        input_size=weights.input_size,
        mean=weights.mean,
        std=weights.std,
        channel_order=weights.channel_order,
        transform_input=weights.transform_input,
    )
    return EvaluateConfig(
        data=images,
        classifier=classifier,
        precision=precision,
        policies=(*policies, *(weights.policies if with_own else ())),
        crops=CropsConfig(resize=weights.resize, aspect=weights.aspect),
    )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
