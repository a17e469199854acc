"""Whether the paper's published numbers can be compared with those of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.artefacts import sealing
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.fidelity import caffe_fidelity, fidelity
from pipeline.paper.published import DATASET
from pipeline.sources.recognition import recognise

if TYPE_CHECKING:  # it imports scipy, which no rank of a training needs
    from pipeline.artefacts.result import Result


class Comparability(NamedTuple):
    """Whether published numbers can be compared with those of a study.

    `obstacle` is the reason why they cannot, empty where they can. `remark` is what a
    reader must know beside a verdict.
    """

    obstacle: str
    remark: str


def recognised(result: "Result", root: Path) -> Comparability:
    """Return whether a result's images are ILSVRC-2012's validation images."""
    data = result.config.members[0].data
    return of_images(
        data.name,
        sealing.DATASET.unseal(data, root).source_md5,
        result.image_ids,
        result.hits("label"),
        result.facts.classes,
    )


def of_images(
    name: str,
    source_md5: Mapping[str, str],
    image_ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
) -> Comparability:
    """Return whether the images of a validation split are ILSVRC-2012's."""
    images, words = recognise(source_md5, image_ids, labels, classes)
    if images:
        return Comparability("", words)
    return Comparability(
        f"the published number is for {DATASET}'s validation images; {name} {words}", ""
    )


def as_the_papers(members: Sequence[EvaluateConfig], data: Comparability) -> Comparability:
    """Return whether members can be compared with the paper's network.

    `data` says whether their images can.
    """
    refusals, remarks = fidelity(members)
    if refusals and data.obstacle:
        return Comparability(f"{data.obstacle}; the study {'; it '.join(refusals)}", "")
    if refusals:
        return Comparability(
            "the published number is for the paper's GoogLeNet; this study"
            f" {'; it '.join(refusals)}",
            "",
        )
    differences = f"; other than the paper's: {', '.join(remarks)}" if remarks else ""
    return data._replace(remark=data.remark + differences)


def as_caffes(members: Sequence[EvaluateConfig], data: Comparability) -> Comparability:
    """Return whether members can be compared with Caffe's quick recipe.

    `data` says whether their images can.
    """
    refusals, remarks = caffe_fidelity(members)
    if data.obstacle or refusals:
        reasons = [data.obstacle] if data.obstacle else []
        if refusals:
            reasons.append("the published number is Caffe's quick recipe's; this study")
            reasons[-1] += f" {'; it '.join(refusals)}"
        return Comparability("; ".join(reasons), "")
    differences = f"; other than Caffe's: {', '.join(remarks)}" if remarks else ""
    return data._replace(remark=f"trained here by its recipe; {data.remark}{differences}")
