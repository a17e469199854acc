"""How close the members of a study are to the paper's: refusals, for which a published
number says nothing about them, and remarks.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.configs.base import differences
from pipeline.configs.crops import CropsConfig, Resize
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.network import PixelConfig
from pipeline.configs.prepare import PhotographsConfig
from pipeline.configs.recipes import CAFFE_PIXELS, SEEDS, TABLE_1, WIDER, caffe_quick, paper
from pipeline.configs.train import TrainConfig
from pipeline.paper.crops import Aspect
from pipeline.paper.family import Weights
from pipeline.paper.published import PublishedId

INPUT_SIZE = 224  # paper, section 5


class Fidelity(NamedTuple):
    """The differences between the members of a study and the paper's.

    `refusals` are another network, or weights chosen on the validation images.
    `remarks` are what the paper leaves open, or does differently in training.
    """

    refusals: tuple[str, ...]
    remarks: tuple[str, ...]


def fidelity(members: Sequence[EvaluateConfig]) -> Fidelity:
    """Compare the members with the paper's seven (sections 5 to 7); each difference
    comes once.

    One member of several may be wider, as the paper's seventh is.
    """
    refusals = [text for member in members for text in _refusals(member)]
    shapes = [shape for member in members if (shape := member.classifier.shape)]
    widths = sorted(shape.width for shape in shapes)
    allowed = {1.0, WIDER} if len(members) > 1 and widths[-2:-1] == [1.0] else {1.0}
    refusals += [f"has a network of width {width:g}" for width in widths if width not in allowed]
    remarks = [text for member in members for text in _remarks(member)]
    runs = [run for member in members if isinstance(run := member.classifier, TrainConfig)]
    if len({run.init_seed for run in runs}) > 1:
        remarks.append("members with initial weights of their own")
    return Fidelity(tuple(dict.fromkeys(refusals)), tuple(dict.fromkeys(remarks)))


def _refusals(member: EvaluateConfig) -> Iterator[str]:
    classifier = member.classifier
    if classifier.input_size != INPUT_SIZE:
        yield f"ran at {classifier.input_size} px"
    if classifier.shape is None:
        yield f"measured {classifier.arch}"
        return
    same_size = classifier.shape.but(width=TABLE_1.width, input_size=TABLE_1.input_size)
    if others := " ".join(differences(same_size, TABLE_1)):
        yield f"has a network with {others}"
    if isinstance(classifier, TrainConfig) and classifier.begin is not None:
        yield "began with the weights of another training"
    foreign_best = isinstance(classifier, ForeignConfig) and classifier.are_best
    if foreign_best or member.weights == "best":
        yield "measured weights that were chosen on these very images"


def _remarks(member: EvaluateConfig) -> Iterator[str]:
    classifier = member.classifier
    if isinstance(classifier, ForeignConfig):
        yield "a network trained elsewhere"
        yield from differences(classifier.pixels)
    else:
        same = ("network", *SEEDS) if classifier.shape else ("network", "init", *SEEDS)
        recipe = paper(classifier.data).but(**{name: getattr(classifier, name) for name in same})
        yield from differences(classifier, recipe)
        if isinstance(classifier.data, PhotographsConfig) and classifier.data.reencode:
            yield "training images stored smaller"
        if member.weights != "averaged":
            yield f"{member.weights} weights"
    yield from differences(member.crops, CropsConfig())
    yield from _of_precision(member)


def _of_precision(member: EvaluateConfig) -> Iterator[str]:
    if member.precision != "fp32":
        yield f"evaluated in {member.precision}"
    if member.compiled:
        yield "evaluated compiled"


class PublishedForm(NamedTuple):
    """How the makers of published weights evaluated them."""

    arch: str
    pixels: PixelConfig
    aspect: Aspect
    input_size: int = INPUT_SIZE
    resize: Resize = "pil_bilinear"


# by the id of a neighbour in paper/published.toml
PUBLISHED: Mapping[PublishedId, PublishedForm] = {
    "R7": PublishedForm("torchvision:googlenet", PixelConfig(), "kept"),  # its transforms()
    "R8": PublishedForm("googlenet", CAFFE_PIXELS, "warped"),  # its train_val.prototxt
}


def weights_fidelity(members: Sequence[EvaluateConfig], published: PublishedId) -> Fidelity:
    """Compare the evaluation of published weights with that of their makers; each
    difference comes once.
    """
    return _as_by_makers(members, PUBLISHED[published])


def family_fidelity(member: EvaluateConfig, weights: Weights) -> Fidelity:
    """Compare the evaluation of published weights of paper/family.toml with that of
    their owners.
    """
    pixels = PixelConfig(mean=weights.mean, std=weights.std, channel_order=weights.channel_order)
    form = PublishedForm(
        weights.arch, pixels, weights.aspect, weights.input_size, resize=weights.resize
    )
    return _as_by_makers([member], form)


def _as_by_makers(members: Sequence[EvaluateConfig], form: PublishedForm) -> Fidelity:
    refusals = [text for member in members for text in _refusals_by_makers(member, form)]
    remarks = [text for member in members for text in _remarks_on_evaluation(member, form.resize)]
    return Fidelity(tuple(dict.fromkeys(refusals)), tuple(dict.fromkeys(remarks)))


def _refusals_by_makers(member: EvaluateConfig, form: PublishedForm) -> Iterator[str]:
    classifier = member.classifier
    if not isinstance(classifier, ForeignConfig):
        yield "measured a run of ours"
        return
    if classifier.arch != form.arch:
        yield f"measured {classifier.arch}"
    if classifier.input_size != form.input_size:
        yield f"ran at {classifier.input_size} px"
    if classifier.network is not None:
        yield "measured a file of our own, by its note"
    if classifier.transform_input is False:
        yield "went without transform_input"
    if others := " ".join(differences(_rounded(classifier.pixels), _rounded(form.pixels))):
        yield f"entered pixels with {others}"
    if member.crops.aspect != form.aspect:
        yield f"cut its crops with aspect={member.crops.aspect}"


def _rounded(pixels: PixelConfig) -> PixelConfig:
    """Return how pixels enter, but for roundings: owners have figures of 0 to 1."""
    mean, std = (tuple(round(value, 6) for value in each) for each in (pixels.mean, pixels.std))
    return pixels.but(mean=mean, std=std)


def _remarks_on_evaluation(
    member: EvaluateConfig, resize: Resize = "pil_bilinear"
) -> Iterator[str]:
    yield from differences(member.crops, CropsConfig(resize=resize), ("aspect",))
    yield from _of_precision(member)


# fields that move only roundings and a grey level
NEARLY_EQUAL = ("precision", "compiled", "patches")
# fields that do not reach the raw weights of a training
UNSEEN = (
    "averaging",
    "averaging_decay",
    "averaging_start_epoch",
    "validate_every_epochs",
)


def caffe_fidelity(members: Sequence[EvaluateConfig]) -> Fidelity:
    """Compare the members with Caffe's quick recipe, as BVLC evaluated it; each
    difference comes once.
    """
    refusals, remarks = (
        [text for member in members for text in texts(member)]
        for texts in (_refusals_by_caffe, _remarks_by_caffe)
    )
    return Fidelity(tuple(dict.fromkeys(refusals)), tuple(dict.fromkeys(remarks)))


def _refusals_by_caffe(member: EvaluateConfig) -> Iterator[str]:
    run = member.classifier
    if isinstance(run, ForeignConfig):
        yield "measured weights from elsewhere"
        return
    leaving = (*NEARLY_EQUAL, *UNSEEN, *SEEDS)
    if others := " ".join(differences(run, caffe_quick(run.data), leaving)):
        yield f"trained with {others}"
    if isinstance(run.data, PhotographsConfig) and run.data.reencode:
        yield "stored its training images smaller"
    if member.weights != "raw":
        yield f"measured {member.weights} weights, not the last step's"
    if member.crops.aspect != "warped":
        yield f"cut its crops with aspect={member.crops.aspect}"


def _remarks_by_caffe(member: EvaluateConfig) -> Iterator[str]:
    run = member.classifier
    if not isinstance(run, ForeignConfig):
        recipe = caffe_quick(run.data)
        equal = {name: getattr(recipe, name) for name in NEARLY_EQUAL}
        yield from differences(run, run.but(**equal))
    yield from _remarks_on_evaluation(member)
