"""The study that measures classifiers trained elsewhere: data, evaluations and results,
without an experiment file.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipeline.configs.blacklist import Blacklist
from pipeline.configs.compare import table3
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.fidelity import PUBLISHED
from pipeline.configs.network import Precision
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, PublishedWeights, Study
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.paper.family import weights_of
from pipeline.paper.policies import CURVE
from pipeline.paper.published import NEIGHBOURS, PublishedId
from pipeline.tools.foreign import Foreign, Triple, foreign_config
from pipeline.tools.images_to_classify import images_of


def foreign_study(
    arch: str | None,
    weights: Path | None,
    data: Path,
    classes: Path | None = None,
    precision: Precision = "fp32",
    compiled: bool = False,
    policies: tuple[str, ...] = CURVE,
    published_as: PublishedId | None = None,
    models: Sequence[Mapping[str, Any]] = (),
    input_size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
    weights_key: str | None = None,
    transform_input: bool | None = None,
    blacklist: Path | None = None,
    **crops: str | None,
) -> Study:
    """Return a study of one classifier on one folder, or of several `models`: of each
    alone and of all together.

    What is said of a classifier is an argument of `foreign_config`; each of `models`
    has such arguments by name. `crops` are fields of `CropsConfig`. `published_as`
    names the neighbour of the paper whose weights these are; by default the digest of
    the file tells it. Without the images of a `blacklist` all errors are measured too.

    Raises:
        InputError: there is no such file or architecture, the file holds several sets
            of weights, or a value is out of range.
    """
    given = {
        "arch": arch,
        "weights": weights,
        "weights_key": weights_key,
        "input_size": input_size,
        "mean": mean,
        "std": std,
        "channel_order": channel_order,
        "transform_input": transform_input,
    }
    try:
        foreign = [foreign_config(**each) for each in models or (given,)]
        images = images_of(data, classes, _outputs_of(foreign))
        members = tuple(
            EvaluateConfig(
                data=images,
                classifier=each.config,
                precision=precision,
                compiled=compiled,
                policies=policies,
                crops=CropsConfig.model_validate(
                    {"resize": each.resize}
                    | {name: choice for name, choice in crops.items() if choice is not None}
                ),
            )
            for each in foreign
        )
        if len({member.hash for member in members}) < len(members):
            raise InputError("--model: names one classifier twice; expected others")
        check = CheckConfig(
            results=table3(members, members[0].policies),
            neighbour=_published(foreign[0].config, published_as) if len(members) == 1 else None,
            family=any(
                arch.startswith("timm:") and weights_of(arch) is not None
                for arch in (each.config.arch for each in foreign)
            ),
            blacklist=None if blacklist is None else _blacklist(blacklist, images),
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    if len(members) > 1:
        name, title = "evaluate-ensemble", " + ".join(each.config.arch for each in foreign)
    else:
        config = foreign[0].config
        file = config.weights or config.code or data
        name, title = f"evaluate-{config.arch}", f"{config.arch} ({file.name})"
    return Study(name=study_name(name), title=f"{title} on {images.name}", check=check)


def _outputs_of(foreign: Sequence[Foreign]) -> int | None:
    """Return the number of outputs of classifiers that make an ensemble."""
    known = {each.config.label: each.num_outputs for each in foreign if each.num_outputs}
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{label}: {number}" for label, number in known.items())
        raise InputError(
            f"--model: numbers of outputs differ ({listed}); expected the same classes"
        )
    return next(iter(known.values()), None)


def _blacklist(path: Path, images: PrepareConfig) -> Blacklist:
    """Return a list of ILSVRC-2012's validation images, after a look whether the data
    are some of these.
    """
    from pipeline.sources.recognition import VAL_ID
    from pipeline.sources.registry import open_source

    blacklist = Blacklist.of(path)
    names = [piece.name for piece in open_source(images).pieces() if piece.split == "val"]
    if other := next((name for name in names if not VAL_ID.search(name)), None):
        raise InputError(
            f"--blacklist {path}: is of ILSVRC-2012's validation images, ILSVRC2012_val_00000001"
            f" and so on; the data has others, such as {other}"
        )
    return blacklist


def _published(foreign: ForeignConfig, published_as: PublishedId | None) -> PublishedWeights | None:
    """Return the neighbour of the paper whose published errors the weights must show,
    if there is one.
    """
    if published_as is None:
        own = (n.id for n in NEIGHBOURS if n.id and n.has_weights(foreign.sha256, foreign.sha1))
        return next((PublishedWeights(id=published) for published in own), None)
    if foreign.arch != (expected := PUBLISHED[published_as].arch):
        raise InputError(
            f"--published-as {published_as}: those are weights of {expected}, and --arch is"
            f" {foreign.arch}"
        )
    return PublishedWeights(id=published_as)


def study_name(text: str) -> str:
    """Return a text as the name of a study."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64]
