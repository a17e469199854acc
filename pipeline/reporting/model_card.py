"""The model card that goes with weights.

It says what the model is, how it was trained, and its errors with 95 % intervals.
"""

from collections.abc import Mapping, Sequence

from pipeline.artefacts.contents import RunFacts
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.facts import Provenance
from pipeline.configs.train import TrainConfig
from pipeline.paper.policies import label_of
from pipeline.reporting.wording import templates
from pipeline.statistics.inference import wilson


def model_card(
    run: TrainConfig,
    weights: str,
    data: Dataset,
    facts: RunFacts,
    provenance: Provenance,
    misses: Mapping[str, Sequence[int]],
    has_onnx: bool = False,
) -> str:
    """Return a model card in Markdown.

    Args:
        weights: which of the run's weights the card is for.
        facts: the facts of the run, as in run.json; `provenance` is their origin.
        misses: the numbers of validation images that are wrong at top-1 and at top-5,
            by crop policy.
        has_onnx: whether model.onnx lies beside the card.
    """
    count = data.manifest.num_images["val"]
    return (
        templates()
        .get_template("model_card.md")
        .render(
            run=run,
            weights=weights,
            facts=facts,
            provenance=provenance,
            data=data,
            errors=[
                (label_of(policy), [(n / count, wilson(n, count)) for n in wrong])
                for policy, wrong in misses.items()
            ],
            has_onnx=has_onnx,
            settings=run.model_dump(
                exclude={
                    **dict.fromkeys(("data", "network", "pixels", "version", *run.resources), True),
                    "begin": {"path"},
                },
                exclude_defaults=True,
            ),
        )
    )
