"""A trained run as files for others: safetensors, a model card, and ONNX."""

import logging
from pathlib import Path

import onnx
import torch
from torch import nn

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.configs.study import Study
from pipeline.errors import present
from pipeline.models.loading import our_classifier
from pipeline.reporting.model_card import model_card
from pipeline.runtime import disk


def export(study: Study, root: Path, member: int, into: Path) -> Path:
    """Write one member to the folder `into`: model.safetensors, model.onnx and
    README.md. Return the folder.

    The ONNX program takes images of N x 3 x side x side and returns logits.

    Raises:
        InputError: there is no such member, or it is not trained yet.
    """
    config, evaluation = study.trained_member(member), study.check.results[0].members[member]
    run = Run(config, root)
    sealed = sealing.RUN.unseal(config, root)
    data = Dataset(evaluation.data, root)
    classifier = our_classifier(config, run.weights(evaluation.weights), data.num_classes)

    into.mkdir(parents=True, exist_ok=True)
    weights = run.weights_file(evaluation.weights).read_bytes()
    disk.write_atomic(into / "model.safetensors", weights)
    properties = {name: getattr(config, name).model_dump_json() for name in ("network", "pixels")}
    program = onnx_program(classifier.network, classifier.input_size, properties)
    disk.write_atomic(into / "model.onnx", program)
    misses = {}
    for policy in evaluation.policies if evaluation.is_complete(root) else ():
        rank = Predictions(evaluation, root).ranks(policy)
        misses[policy] = [int((rank >= top).sum()) for top in (1, 5)]
    card = model_card(
        config, evaluation.weights, data, sealed, sealed.provenance, misses, has_onnx=True
    )
    disk.write_atomic(into / "README.md", card.encode())
    return into


def onnx_program(network: nn.Module, side: int, properties: dict[str, str]) -> bytes:
    """Return a network as an ONNX file: images of N x 3 x side x side -> logits."""
    network = network.eval()
    example = torch.zeros(2, 3, side, side)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    exported = torch.onnx.export(
        network,
        (example,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images_NCHW": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    model = present(exported, "the ONNX program").model_proto
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
