"""A trained run as files for others: weights, ONNX, timm's config and a model card."""

from pathlib import Path

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.configs.study import Study
from pipeline.models.loading import our_classifier
from pipeline.reporting.front_matter import Licence, Measured, front_matter
from pipeline.reporting.model_card import model_card
from pipeline.tools.layout import Described, write_layout


def export(study: Study, root: Path, member: int, into: Path, licence: str | None = None) -> Path:
    """Write one member to the folder `into`: model.safetensors, model.onnx, README.md,
    and config.json where timm can make the network. Return the folder.

    The ONNX program takes images of N x 3 x side x side and returns logits.

    Args:
        licence: an identifier of the Hub; by default the terms of the data set.

    Raises:
        InputError: there is no such member, or it is not trained yet; or the licence is
            no identifier.
    """
    config, evaluation = study.trained_member(member), study.check.results[0].members[member]
    terms = Licence.of_weights(licence, config.data.name)
    run = Run(config, root)
    sealed = sealing.RUN.unseal(config, root)
    data = Dataset(evaluation.data, root)
    classifier = our_classifier(config, run.weights(evaluation.weights), data.num_classes)
    misses = {}
    for policy in evaluation.policies if evaluation.is_complete(root) else ():
        rank = Predictions(evaluation, root).ranks(policy)
        misses[policy] = [int((rank >= top).sum()) for top in (1, 5)]
    card = model_card(
        config, evaluation.weights, data, sealed, sealed.provenance, misses, has_onnx=True
    )
    measured = Measured(config.data.name, data.manifest.num_images["val"], misses)
    by_timm = config.shape is not None or config.arch.startswith("timm:")
    head = front_matter(
        f"{'GoogLeNet' if config.shape else config.arch} on {config.data.name}",
        terms,
        measured,
        "timm" if by_timm else None,
    )
    described = Described(
        classifier.network,
        config.network,
        config.pixels,
        data.num_classes,
        data.classes,
        terms.identifier,
    )
    weights = run.weights_file(evaluation.weights).read_bytes()
    return write_layout(into, described, weights, head + card)
