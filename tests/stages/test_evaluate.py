"""The evaluation equals a slow reference, and does not depend on who does which part when."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.adapters import ranks
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.result import Result
from pipeline.paper.googlenet import PREPROCESSING, GoogLeNet
from pipeline.stages import evaluate as stage
from pipeline.stages.check import check
from pipeline.stages.ensemble import ensemble
from pipeline.stages.evaluate import evaluate
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from pipeline.study import POLICIES, EvaluateConfig, InputError, PrepareConfig, Study, TrainConfig, table3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, data: PrepareConfig, run_config: TrainConfig) -> Path:
    """Two short runs, not yet evaluated."""
    folder = tmp_path_factory.mktemp("root")
    prepare(data, folder)
    for seed in range(2):
        train(run_config.but(data_seed=seed), folder)
    return folder


@pytest.fixture(scope="module")
def config(data: PrepareConfig, run_config: TrainConfig) -> EvaluateConfig:
    return EvaluateConfig(data=data, classifier=run_config)


def slow_reference(network: torch.nn.Module, image: Image.Image, size: int) -> dict[str, np.ndarray]:
    """The protocol of PAPER.md 3.1, written out again: one crop at a time, nothing shared."""

    def probabilities(cut: Image.Image) -> np.ndarray:
        pixels = torch.tensor(np.array(cut), dtype=torch.float32)
        x = (pixels - torch.tensor(PREPROCESSING.mean)) / torch.tensor(PREPROCESSING.std)
        with torch.no_grad():
            return torch.softmax(network(x.permute(2, 0, 1)[None]), 1)[0].numpy()

    found: dict[str, list[np.ndarray]] = {policy: [] for policy in POLICIES}
    for scale_number, scale in enumerate(size * s // 224 for s in (256, 288, 320, 352)):
        width, height = image.size
        short = min(width, height)
        resized = image.resize((width * scale // short, height * scale // short), Image.Resampling.BILINEAR)
        slack = max(resized.size) - scale
        for square_number, offset in enumerate((0, slack // 2, slack)):
            left, top = (offset, 0) if width >= height else (0, offset)
            square = resized.crop((left, top, left + scale, top + scale))
            d = scale - size
            views = [square.crop((x, y, x + size, y + size)) for x, y in ((d // 2, d // 2), (0, 0), (d, 0), (0, d), (d, d))]
            for view_number, view in enumerate([*views, square.resize((size, size), Image.Resampling.BILINEAR)]):
                for mirrored in (False, True):
                    cut = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else view
                    value = probabilities(cut)
                    found["crops_144"].append(value)
                    if (scale_number, square_number) == (0, 1) and view_number < 5:
                        found["crops_10"].append(value)
                        if view_number == 0 and not mirrored:
                            found["crops_1"].append(value)
    assert [len(values) for values in found.values()] == [1, 10, 144]
    return {policy: np.mean(values, axis=0) for policy, values in found.items()}


def test_equals_the_slow_reference(root: Path, config: EvaluateConfig, data: PrepareConfig, run_config: TrainConfig) -> None:
    split = Dataset(data, root).split("val")
    shape = run_config.network
    network = GoogLeNet(3, shape.input_size, shape.width, aux_heads=()).eval()
    network.load_state_dict(load_file(root / run_config.folder / "final/model.safetensors"), strict=False)
    predictions = evaluate(config, root)
    for index in (0, 7, 14):
        image = Image.open(io.BytesIO(split.encoded(index))).convert("RGB")
        expected = slow_reference(network, image, shape.input_size)
        for policy in POLICIES:
            np.testing.assert_allclose(predictions.probabilities(policy)[index], expected[policy], atol=1e-6)


def test_averages_are_probabilities(root: Path, config: EvaluateConfig) -> None:
    """E5: they sum to 1, and the order of the crops does not matter."""
    predictions = evaluate(config, root)
    for policy in POLICIES:
        np.testing.assert_allclose(predictions.probabilities(policy).sum(axis=1), 1, atol=1e-5)
    crops_NC = np.random.default_rng(0).dirichlet(np.ones(7), 144).astype(np.float32)
    shuffled = np.random.default_rng(1).permutation(crops_NC)
    np.testing.assert_allclose(crops_NC.mean(axis=0), shuffled.mean(axis=0), atol=1e-6)


def test_any_world_size_gives_the_same_bytes(root: Path, config: EvaluateConfig) -> None:
    written = []
    for world_size in (1, 2, 3):
        copy = config.but(policies=POLICIES, weights="raw")
        folder = root / copy.folder
        ranks.launch(evaluate, world_size, copy, root)
        written.append({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "predictions.json"})
        assert Predictions(copy, root).probabilities("crops_1").shape == (15, 3)
        (folder / "predictions.json").unlink()
    assert written[0] == written[1] == written[2]
    assert written[0].keys() == {"crops_1.safetensors", "crops_10.safetensors", "crops_144.safetensors", "hits.parquet"}


def test_finished_chunks_are_not_done_again(root: Path, config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the first chunk, the evaluation goes on with the second; a gap is never merged."""
    monkeypatch.setattr(stage, "CHUNK", 4)
    config = config.but(policies=("crops_1",), precision="bf16")
    calls: list[list[int]] = []
    classify = stage.classify

    def killed_in_the_second(*arguments: object, **named: object) -> object:
        calls.append(list(arguments[2]))  # type: ignore[call-overload]
        if len(calls) == 2:
            raise KeyboardInterrupt
        return classify(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "classify", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, root)
    with pytest.raises(FileNotFoundError):
        Predictions(config, root).merge(4, ["x"] * 15, np.zeros(15, np.int64), {})
    with pytest.raises(RuntimeError, match="do not hold each of 15 images exactly once"):
        Predictions(config, root).merge(1, ["x"] * 15, np.zeros(15, np.int64), {})
    (root / config.folder / "chunks" / ".000001.safetensors.torn").write_bytes(b"half")  # what a kill in a write leaves
    evaluate(config, root)
    assert not (root / config.folder / "chunks").exists()
    assert calls == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14]]


def test_ensemble_averages_probabilities(root: Path, study: Study) -> None:
    """Errors follow from the stored probabilities; one model means the member of lowest top-1 error."""
    cells = study.check.results
    for member in cells[0].members:
        evaluate(member, root)
    labels = Dataset(cells[0].members[0].data, root).split("val").labels
    for cell in cells:
        result = ensemble(cell, root)
        each = [Predictions(member, root).probabilities(cell.policy) for member in cell.members]
        wrong = [p.argmax(1) != labels for p in each]
        single_crop = [np.mean(Predictions(m, root).probabilities("crops_1").argmax(1) != labels) for m in cell.members]
        best = wrong[int(np.argmin(single_crop))]  # one network for all rows of a single model
        expected = np.mean(each, axis=0).argmax(1) != labels if cell.choose == "all" else best
        assert np.array_equal(result.errors(1), expected)
        assert np.array_equal(result.member_errors(1), np.mean(wrong, axis=0))
        assert result.facts["top1_error"] == expected.mean()
        assert result.facts["top5_error"] == 0.0  # three classes
    decisions = {verdict.claim: verdict.decision for verdict in check(study.check, root)}
    assert {decisions[claim] for claim in ("R1", "R2", "R3", "R4", "R5")} == {"not_run"}
    assert {decisions[claim] for claim in ("R6a", "R6b", "R6c", "R6d")} <= {"reproduced", "not_reproduced", "inconclusive"}


def test_members_of_two_data_sets_are_refused(root: Path, config: EvaluateConfig) -> None:
    elsewhere = config.but(data=config.data.but(name="other"))
    with pytest.raises(InputError, match="evaluated on different data sets"):
        ensemble(table3((config, elsewhere))[0], root)
    assert isinstance(ensemble(table3((config,))[0], root), Result)
