"""The head of a model card, as the Hugging Face Hub reads it."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from pipeline.errors import InputError
from pipeline.paper.policies import label_of

IDENTIFIER = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")  # such as apache-2.0
TAGS = ["image-classification", "going-deeper"]


class Licence(NamedTuple):
    """Under which licence weights are: the Hub's identifier, and a name for `other`."""

    identifier: str
    name: str | None = None

    @classmethod
    def of_weights(cls, identifier: str | None, data: str) -> "Licence":
        """Return the licence that a user names, or else the terms of the data set.

        Raises:
            InputError: it is no identifier.
        """
        if identifier is None:
            slug = re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-")
            return cls("other", f"terms-of-{slug or 'the-data'}")
        if not IDENTIFIER.fullmatch(identifier):
            raise InputError(
                f"--license {identifier}: expected an identifier of the Hub, such as apache-2.0,"
                " cc-by-nc-4.0, other or unknown"
            )
        return cls(identifier)


class Measured(NamedTuple):
    """Errors on the validation images of a data set.

    `misses` are the numbers of images that are wrong at top-1 and at top-5, by crop
    policy.
    """

    data: str
    num_images: int
    misses: Mapping[str, Sequence[int]]


UNMEASURED = Measured("", 0, {})


def front_matter(
    name: str, licence: Licence, measured: Measured = UNMEASURED, library: str | None = "timm"
) -> str:
    """Return the head of a model card: YAML between lines of three dashes.

    `library` is the one that makes the network, by its name on the Hub.
    Accuracies (shares) are the card's `model-index`, as huggingface_hub writes it.
    """
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=measured.data,
            dataset_name=measured.data,
            dataset_split="validation",
            metric_type="accuracy",
            metric_name=f"top-{top} accuracy, crops: {label_of(policy)}",
            metric_value=1 - wrong / measured.num_images,
        )
        for policy, counts in measured.misses.items()
        for top, wrong in zip((1, 5), counts, strict=True)
    ]
    data = ModelCardData(
        model_name=name,
        license=licence.identifier,
        license_name=licence.name,
        library_name=library,
        pipeline_tag="image-classification",
        tags=TAGS,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"
