"""Files that export writes can be used without this project."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.run import Run
from pipeline.configs.compare import table3
from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.network import PixelConfig
from pipeline.configs.recipes import CAFFE_PIXELS
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, present
from pipeline.images import decode as images
from pipeline.paper.googlenet import GoogLeNet, normalise
from pipeline.stages.evaluate import evaluate
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from pipeline.tools.export import export
from pipeline.tools.external import foreign_study


@pytest.mark.slow  # ONNX's exporter takes its time
def test_export(tmp_path: Path, study: Study) -> None:
    """ONNX gives the network's logits to 1e-4 on real crops, for any batch; the card
    holds the measured errors.
    """
    root, into = tmp_path / "root", tmp_path / "exported"
    evaluation = study.check.results[0].members[0]
    run = evaluation.classifier
    assert isinstance(run, TrainConfig)
    data = prepare(evaluation.data, root)
    train(run, root)
    export(study, root, 0, into)
    assert "Not measured: the study has not been evaluated." in (into / "README.md").read_text()
    evaluate(evaluation, root)
    export(study, root, 0, into)
    card = (into / "README.md").read_text()
    assert card.count("| 144 |") == 1
    properties = {p.key: p.value for p in onnx.load(into / "model.onnx").metadata_props}
    assert PixelConfig.model_validate_json(properties["pixels"]) == run.pixels
    assert "class_balance: 0.5" in card

    network = GoogLeNet(3, run.input_size, present(run.shape, "a GoogLeNet").width)
    network.load_state_dict(load_file(into / "model.safetensors"))
    split = Dataset(evaluation.data, root).split("val")
    assert len(split) == data.manifest.num_images["val"]
    pixels = np.stack(
        [np.asarray(images.decode(split.encoded(k)).resize((42, 42))) for k in range(5)]
    )
    x = normalise(torch.from_numpy(pixels), run.pixels.preprocessing)
    session = onnxruntime.InferenceSession(str(into / "model.onnx"))
    (logits,) = session.run(None, {"images": x.contiguous().numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, network.eval()(x).numpy(), atol=1e-4)


@pytest.mark.processes
@pytest.mark.parametrize("pixels", [PixelConfig(), CAFFE_PIXELS], ids=["usual", "caffes"])
def test_an_exported_member_can_be_measured(
    tmp_path: Path, study: Study, image_folder: Path, pixels: PixelConfig
) -> None:
    """`evaluate --arch googlenet` finds its width, input size and pixels in the file,
    and the same probabilities; raw weights too. So it does in the run's own file.
    """
    root = tmp_path / "root"
    averaged = study.check.results[0].members[0]
    assert isinstance(averaged.classifier, TrainConfig)
    evaluation = averaged.but(weights="raw", classifier=averaged.classifier.but(pixels=pixels))
    raw = Study(name="raw", title="Raw", check=CheckConfig(results=table3((evaluation,))))
    assert isinstance(evaluation.classifier, TrainConfig)
    prepare(evaluation.data, root)
    train(evaluation.classifier, root)
    into = export(raw, root, 0, tmp_path / "exported")
    card = (into / "README.md").read_text()
    assert "holds the raw weights" in card
    sentence = f"Input: {pixels.channel_order.upper()} in 0..255, minus {pixels.mean}, divided by"
    assert sentence in card
    own = root / evaluation.classifier.folder / "final/raw.safetensors"
    (kept,) = foreign_study("googlenet", own, image_folder).check.results[0].members
    assert isinstance(kept.classifier, ForeignConfig)
    assert kept.classifier.mean == pixels.mean
    foreign = foreign_study("googlenet", into / "model.safetensors", image_folder)
    (again,) = foreign.check.results[0].members
    assert isinstance(again.classifier, ForeignConfig)
    assert again.classifier.input_size == 42
    assert again.classifier.channel_order == pixels.channel_order
    prepare(again.data, root)
    ours, theirs = (
        evaluate(config, root).probabilities("crops_144") for config in (evaluation, again)
    )
    assert np.array_equal(ours, theirs)
    classes = evaluate(evaluation, root).probabilities("crops_1").argmax(axis=1)
    wrong = np.mean(classes != Dataset(evaluation.data, root).split("val").labels)
    (*_, last) = Run(evaluation.classifier, root).metrics()
    assert last["val_top1_error_raw"] == wrong  # validation, too, reads the run's pixels


def test_wrong_members_are_named(tmp_path: Path, study: Study) -> None:
    with pytest.raises(InputError, match="--member 2: the study has members 0 to 1"):
        export(study, tmp_path, 2, tmp_path / "into")
    with pytest.raises(InputError, match=r"run\.json: does not exist; run the train stage first"):
        export(study, tmp_path, 1, tmp_path / "into")
    assert not (tmp_path / "into").exists()
