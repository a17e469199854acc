"""The evaluation equals a slow reference, and does not depend on who does which part
when.
"""

import io
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load
from safetensors.torch import load_file

from pipeline.artefacts.contents import EvaluationFacts
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.result import Result
from pipeline.artefacts.run import Run
from pipeline.configs.compare import EnsembleConfig, table3
from pipeline.configs.evaluate import POLICIES, EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed, present
from pipeline.models import engine, fast_network
from pipeline.models.classify import classify, scores_of
from pipeline.models.loading import our_classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.runtime import ranks
from pipeline.stages import evaluate as stage
from pipeline.stages.check import check
from pipeline.stages.ensemble import ensemble
from pipeline.stages.evaluate import evaluate
from pipeline.stages.prepare import prepare
from pipeline.stages.report import report
from pipeline.stages.train import train
from tests.stages import trained
from tests.stages.slow_reference import slow_reference


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory, data: PrepareConfig, run_config: TrainConfig
) -> Path:
    """Two short runs, not yet evaluated."""
    folder = tmp_path_factory.mktemp("root")
    prepare(data, folder)
    for seed in range(2):
        train(run_config.but(data_seed=seed), folder)
    return folder


@pytest.fixture(scope="module")
def config(data: PrepareConfig, run_config: TrainConfig) -> EvaluateConfig:
    return EvaluateConfig(data=data, classifier=run_config)


def test_equals_the_slow_reference(
    root: Path, config: EvaluateConfig, data: PrepareConfig, run_config: TrainConfig
) -> None:
    split = Dataset(data, root).split("val")
    shape = present(run_config.shape, "a GoogLeNet")
    network = GoogLeNet(3, shape.input_size, shape.width, aux_heads=()).eval()
    network.load_state_dict(
        load_file(root / run_config.folder / "final/model.safetensors"), strict=False
    )
    predictions = evaluate(config, root)
    for index in (0, 7, 14):
        image = Image.open(io.BytesIO(split.encoded(index))).convert("RGB")
        expected = slow_reference(network, image, shape.input_size)
        for policy in POLICIES:
            np.testing.assert_allclose(
                predictions.probabilities(policy)[index], expected[policy], atol=1e-6
            )


def written(config: EvaluateConfig, root: Path) -> dict[str, bytes]:
    """Remove an evaluation, and return what it wrote, without the seal, which holds
    time and place.
    """
    folder = root / config.folder
    files = {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != config.last_file
    }
    shutil.rmtree(folder)
    return files


def test_images_opened_ahead_give_the_same_scores(
    root: Path, config: EvaluateConfig, run_config: TrainConfig
) -> None:
    """A GPU's rank opens images ahead: the order stays, whichever thread is first."""
    split = Dataset(config.data, root).split("val")
    weights = Run(run_config, root).weights("averaged")
    ours = engine.Engine(our_classifier(run_config, weights, 3), torch.device("cpu"))
    alone, ahead = (
        classify(ours, split, range(15), 3, ("crops_10",), config.crops, threads)[0]
        for threads in (0, 3)
    )
    assert np.array_equal(alone["crops_10"], ahead["crops_10"])
    assert np.array_equal(alone["crops_10"], evaluate(config, root).probabilities("crops_10"))


@pytest.mark.slow  # launches eleven ranks
def test_any_world_size_and_chunk_give_the_same_bytes(
    root: Path, config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shape of the batch is not an option: another one takes other kernels, and
    moves probabilities by a rounding.
    """
    config = config.but(weights="raw")
    expected: dict[str, bytes] = {}
    for world_size, images_per_chunk in ((1, 32), (2, 4), (3, 1), (5, 2)):
        copy = config.but(images_per_chunk=images_per_chunk)
        assert copy.hash == config.hash
        ranks.launch(evaluate, world_size, copy, root)
        content = written(copy, root)
        expected = expected or content
        assert content == expected
    assert expected.keys() == {
        "crops_1.safetensors",
        "crops_10.safetensors",
        "crops_144.safetensors",
        "hits.parquet",
    }
    for batch_size in (1, 7, 48):
        monkeypatch.setattr(fast_network, "CPU_BATCHES", (batch_size,))
        other = evaluate(config, root).probabilities("crops_144")
        np.testing.assert_allclose(
            other, load(expected["crops_144.safetensors"])["probabilities"], atol=1e-6
        )
        written(config, root)


def test_finished_chunks_are_not_done_again(
    root: Path, config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the second chunk, the evaluation goes on behind the first; a gap
    is never merged.
    """
    config = config.but(policies=("crops_1",), precision="bf16", images_per_chunk=4)
    calls: list[list[int]] = []

    def interrupted_after_six(
        engine: engine.Engine, split: Split, ids: list[int], *others: Any
    ) -> Iterator[Any]:
        calls.append(ids)
        yield from islice(scores_of(engine, split, ids, *others), 6 if len(calls) == 1 else None)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage, "scores_of", interrupted_after_six)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, root)
    facts = EvaluationFacts(num_images=15, world_size=1, device="cpu", num_rejected=0)
    first, second = range(4), range(4, 8)
    with pytest.raises(StageFailed, match="the scores of these images are gone"):
        Predictions(config, root).merge([first, second], ["x"] * 15, np.zeros(15, np.int64), facts)
    with pytest.raises(StageFailed, match="the chunks hold 4 of 15 images"):
        Predictions(config, root).merge([first], ["x"] * 15, np.zeros(15, np.int64), facts)
    (whole,) = (root / config.folder / "chunks").glob("*/0000000-0000004.safetensors")
    # what a kill in a write leaves
    (whole.parent / ".0000004-0000008.safetensors.torn").write_bytes(b"half")
    others = whole.parents[1] / "made_from_other_inputs" / "0000004-0000008.safetensors"
    others.parent.mkdir()
    # chunks of weights or images that were since replaced do not count
    others.write_bytes(whole.read_bytes())
    evaluate(config, root)
    assert not (root / config.folder / "chunks").exists()
    assert calls == [list(range(15)), list(range(4, 15))]


def evaluate_and_note(config: EvaluateConfig, root: Path) -> None:
    def noted(*given: Any) -> Iterator[Any]:
        (root / f"rank{os.environ['RANK']}.json").write_text(json.dumps(given[2]))
        return scores_of(*given)

    vars(stage)["scores_of"] = noted
    evaluate(config, root)


@pytest.mark.slow  # launches four ranks
def test_ranks_share_what_is_left(root: Path, config: EvaluateConfig) -> None:
    """Of the third of an array of four jobs, which was lost, each rank has a part."""
    config = config.but(policies=("crops_1",), images_per_chunk=2)
    evaluate(config, root)
    expected = written(config, root)
    for part in (0, 1, 3):
        stage.evaluate_part(config, root, part, 4)
    ranks.launch(evaluate_and_note, 4, config, root)
    shares = [json.loads((root / f"rank{rank}.json").read_text()) for rank in range(4)]
    assert shares == [[7], [8], [9], [10]]
    assert written(config, root) == expected


def evaluate_slowly(config: EvaluateConfig, root: Path) -> None:
    """Evaluate, with a pause before each image, as a larger network has one."""

    def paused(*given: Any) -> Iterator[Any]:
        for row in scores_of(*given):
            time.sleep(0.1)
            yield row

    vars(stage)["scores_of"] = paused
    evaluate(config, root)


@pytest.mark.slow  # launches twelve ranks
def test_killed_at_random_it_ends_with_the_same_bytes(root: Path, config: EvaluateConfig) -> None:
    """Five SIGKILLs of the process group of two ranks at random moments, real
    processes; then the undisturbed bytes.
    """
    config = config.but(weights="raw", precision="bf16", images_per_chunk=1)
    evaluate(config, root)
    expected = written(config, root)
    chunks = root / config.folder / "chunks"
    rng = random.Random(0)
    for _ in range(5):
        process = trained.launched_in_a_group(evaluate_slowly, 2, config, root)
        enough = min(len(list(chunks.glob("*/0*"))) + rng.randint(1, 2), 13)
        trained.wait([process], lambda enough=enough: len(list(chunks.glob("*/0*"))) >= enough)  # type: ignore[misc]
        os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    assert 0 < len(list(chunks.glob("*/0*"))) < 15
    ranks.launch(evaluate, 2, config, root)
    assert written(config, root) == expected


def test_bad_images_keep_their_slot_and_are_named(
    root: Path,
    config: EvaluateConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two images no longer decode: they are misses, named, and counted."""
    policies = ("crops_1", "crops_144", "dense")
    whole = evaluate(config.but(policies=policies), root)
    scores = {policy: whole.probabilities(policy) for policy in policies}
    written(whole.config, root)
    encoded = Split.encoded
    monkeypatch.setattr(
        Split, "encoded", lambda self, k: b"gone" if k in (3, 14) else encoded(self, k)
    )
    predictions = evaluate(config.but(policies=policies, images_per_chunk=2), root)
    names = Dataset(config.data, root).split("val").image_ids
    facts = json.loads((root / predictions.folder / "predictions.json").read_text())
    assert facts["num_images"] == 15
    assert facts["bad_images"] == {names[3]: "not an image", names[14]: "not an image"}
    assert f"{names[14]}: not an image; it counts as an error" in capsys.readouterr().err
    for policy in policies:
        probabilities = predictions.probabilities(policy)
        assert np.flatnonzero(np.isnan(probabilities).all(axis=1)).tolist() == [3, 14]
        kept = ~np.isnan(probabilities).any(axis=1)
        assert np.array_equal(probabilities[kept], scores[policy][kept])
    single = EnsembleConfig(members=(predictions.config,), policy="crops_144")
    assert ensemble(single, root).errors(1)[[3, 14]].all()
    study = Study(name="bad", title="Bad", check=CheckConfig(results=(single,)))
    check(study.check, root)
    shown = report(study, root)
    assert "15 validation images (unreadable, counted as errors: 2: " in shown.read_text()
    written(predictions.config, root)


def test_ensemble_averages_probabilities(root: Path, study: Study) -> None:
    """Errors follow from the stored probabilities; one model means the member of lowest
    top-1 error.
    """
    cells = study.check.results
    for member in cells[0].members:
        evaluate(member, root)
    labels = Dataset(cells[0].members[0].data, root).split("val").labels
    for cell in cells:
        result = ensemble(cell, root)
        each = [Predictions(member, root).probabilities(cell.policy) for member in cell.members]
        wrong = [p.argmax(1) != labels for p in each]
        single_crop = [
            np.mean(Predictions(m, root).probabilities("crops_1").argmax(1) != labels)
            for m in cell.members
        ]
        best = wrong[int(np.argmin(single_crop))]  # one network for all rows of a single model
        expected = np.mean(each, axis=0).argmax(1) != labels if cell.choose == "all" else best
        assert np.array_equal(result.errors(1), expected)
        assert np.array_equal(result.errors_of_members(1), wrong)
        assert result.facts.top1_error == expected.mean()
        assert result.facts.top5_error == 0.0  # three classes
    decisions = {verdict.claim: verdict.decision for verdict in check(study.check, root)}
    assert {decisions[claim] for claim in ("R1", "R2", "R3", "R4", "R5")} == {"not_run"}
    assert {decisions[claim] for claim in ("R6a", "R6b", "R6c", "R6d")} <= {
        "reproduced",
        "not_reproduced",
        "inconclusive",
    }


def test_members_of_two_data_sets_are_refused(root: Path, config: EvaluateConfig) -> None:
    elsewhere = config.but(data=config.data.but(name="other"))
    with pytest.raises(InputError, match="evaluated on different data sets"):
        ensemble(table3((config, elsewhere))[0], root)
    assert isinstance(ensemble(table3((config,))[0], root), Result)
