"""A trained run as files for others: safetensors, a model card, and ONNX."""

import logging
from pathlib import Path
from typing import Any

import onnx
import torch
from safetensors.torch import save
from torch import nn

from pipeline.adapters.classifiers import our_classifier
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.paper.crops import label_of
from pipeline.paper.googlenet import PREPROCESSING
from pipeline.paper.statistics import rank_of_label, wilson
from pipeline.stages.report import templates
from pipeline.study import EvaluateConfig, InputError, Study, TrainConfig


def export(study: Study, root: Path, member: int, into: Path) -> Path:
    """Write model.safetensors, model.onnx (images N x 3 x side x side -> logits) and README.md of one member to `into`.

    Raises:
        InputError: no such member, or it is not trained yet.
    """
    members = study.check.results[0].members
    if not 0 <= member < len(members):
        raise InputError(f"--member {member}: the study has members 0 to {len(members) - 1}")
    evaluation = members[member]
    if not isinstance(evaluation.classifier, TrainConfig):
        raise InputError(f"--member {member}: was trained elsewhere; only runs of ours are exported")
    run = Run(evaluation.classifier, root)
    sealed = storage.unseal(evaluation.classifier, root)
    data = Dataset(evaluation.data, root)
    classifier = our_classifier(evaluation.classifier.network, run.weights(evaluation.weights), data.num_classes)

    into.mkdir(parents=True, exist_ok=True)
    shape = evaluation.classifier.network.model_dump_json()  # so that `evaluate --arch googlenet` knows its options
    storage.write_atomic(into / "model.safetensors", save(run.weights(evaluation.weights), {"network": shape}))
    storage.write_atomic(into / "model.onnx", _onnx(classifier.network, classifier.input_size))
    storage.write_atomic(into / "README.md", model_card(evaluation, data, sealed, root).encode())
    return into


def _onnx(network: nn.Module, side: int) -> bytes:
    network = network.eval()
    example = torch.zeros(2, 3, side, side)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images_NCHW": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    onnx.checker.check_model(program.model_proto)
    content: bytes = program.model_proto.SerializeToString()
    return content


def model_card(evaluation: EvaluateConfig, data: Dataset, sealed: dict[str, Any], root: Path) -> str:
    """What the model is, how it was trained, and its measured errors with 95 % intervals."""
    run = evaluation.classifier
    assert isinstance(run, TrainConfig)
    labels = data.split("val").labels
    errors = []
    for policy in evaluation.policies if evaluation.is_complete(root) else ():
        rank = rank_of_label(Predictions(evaluation, root).probabilities(policy), labels)
        wrong = [int((rank >= top).sum()) for top in (1, 5)]
        errors.append((label_of(policy), [(count / len(rank), wilson(count, len(rank))) for count in wrong]))
    return (
        templates()
        .get_template("model_card.md")
        .render(
            run=run,
            weights=evaluation.weights,
            sealed=sealed,
            data=data,
            errors=errors,
            preprocessing=PREPROCESSING,
            settings=run.model_dump(exclude={"data", "network", "version"}, exclude_defaults=True),
        )
    )
