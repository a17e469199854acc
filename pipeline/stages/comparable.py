"""Whether published numbers can be compared with those of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import Manifest
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.fidelity import (
    Fidelity,
    caffe_fidelity,
    family_fidelity,
    fidelity,
    weights_fidelity,
)
from pipeline.configs.train import TrainConfig
from pipeline.errors import present
from pipeline.paper.family import Weights
from pipeline.paper.published import DATASET, NEIGHBOURS, Neighbour
from pipeline.sources.recognition import recognise, recognise_training

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
    manifest = sealing.DATASET.unseal(data, root)
    return of_images(
        data.name,
        manifest.source_md5,
        result.image_ids,
        result.hits("label"),
        result.facts.classes,
        manifest.bytes_of_splits,
    )


def of_images(
    name: str,
    source_md5: Mapping[str, str],
    image_ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    bytes_of_splits: Mapping[str, int] | None = None,
) -> Comparability:
    """Return whether the images of a validation split are ILSVRC-2012's."""
    images, words = recognise(source_md5, image_ids, labels, classes, bytes_of_splits)
    if images:
        return Comparability("", words)
    return Comparability(
        f"the published number is for {DATASET}'s validation images; {name} {words}", ""
    )


def trained_on(members: Sequence[EvaluateConfig], root: Path) -> Comparability:
    """Return whether the trainings of members saw ILSVRC-2012's training images.

    Members that were trained elsewhere are passed over.
    """
    runs = [run for member in members if isinstance(run := member.classifier, TrainConfig)]
    each = [
        of_training_images(data.name, sealing.DATASET.unseal(data, root))
        for data in {run.data.hash: run.data for run in runs}.values()
    ]
    obstacle = next((training.obstacle for training in each if training.obstacle), "")
    remarks = dict.fromkeys(training.remark for training in each)
    return Comparability(obstacle, "" if obstacle else "; ".join(remarks))


def of_training_images(name: str, manifest: Manifest) -> Comparability:
    """Return whether the images of a training split are ILSVRC-2012's."""
    training, words = recognise_training(manifest)
    if training:
        return Comparability("", words)
    return Comparability(f"the published number is for training on {DATASET}; {name} {words}", "")


def as_the_papers(
    members: Sequence[EvaluateConfig], data: Comparability, training: Comparability
) -> Comparability:
    """Return whether members can be compared with the paper's network.

    `data` says whether their images can, `training` whether those of their trainings
    can.
    """
    return _joined("the paper's GoogLeNet", "the paper's", fidelity(members), data, training)


def as_caffes(
    members: Sequence[EvaluateConfig], data: Comparability, training: Comparability
) -> Comparability:
    """Return whether members can be compared with Caffe's quick recipe.

    For `data` and `training` see `as_the_papers`.
    """
    whole = _joined("Caffe's quick recipe", "Caffe's", caffe_fidelity(members), data, training)
    return whole._replace(remark=f"trained here by its recipe; {whole.remark}")


def as_published_weights(
    members: Sequence[EvaluateConfig], neighbour: Neighbour, data: Comparability
) -> Comparability:
    """Return whether members are a neighbour's weights, evaluated as their makers did.

    `data` says whether their images can be compared.
    """
    foreign = [each for m in members if isinstance(each := m.classifier, ForeignConfig)]
    is_own = all(neighbour.has_weights(each.sha256, each.sha1) for each in foreign)
    differences = weights_fidelity(members, present(neighbour.id, "the neighbour's id"))
    whole = _joined(neighbour.name, "their makers'", differences, data)
    known_by = "their digest" if is_own else "the user's word"
    return whole._replace(remark=f"weights known by {known_by}; {whole.remark}")


def as_owners(member: EvaluateConfig, weights: Weights, data: Comparability) -> Comparability:
    """Return whether a member is published weights, evaluated as their owners do.

    `data` says whether its images can be compared.
    """
    whole = _joined(weights.name, "their owners'", family_fidelity(member, weights), data)
    foreign = member.classifier
    is_own = isinstance(foreign, ForeignConfig) and any(
        each.has_weights(foreign.sha256, foreign.sha1) for each in NEIGHBOURS
    )
    known_by = "digest" if is_own else "name"
    return whole._replace(
        remark=f"weights are {weights.whose}, known by their {known_by}; {whole.remark}"
    )


def _joined(
    what: str, whose: str, differences: Fidelity, *conditions: Comparability
) -> Comparability:
    """Join what the members differ in with the conditions on their images."""
    refusals, remarks = differences
    obstacles = [condition.obstacle for condition in conditions if condition.obstacle][:1]
    if refusals:
        number = f"the published number is for {what}; this study"
        obstacles.append(f"{'the study' if obstacles else number} {'; it '.join(refusals)}")
    words = [condition.remark for condition in conditions if condition.remark]
    if remarks:
        words.append(f"other than {whose}: {', '.join(remarks)}")
    return Comparability("; ".join(obstacles), "" if obstacles else "; ".join(words))
