"""Verdicts on the published errors of GoogLeNet's successors, on results that are
written by hand; and the study of published weights from its folder to its report.
"""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from pipeline.artefacts import sealing
from pipeline.artefacts.check_facts import NetworkErrors
from pipeline.artefacts.result import Hits, write_result
from pipeline.artefacts.verdict import Verdict
from pipeline.configs.blacklist import Blacklist
from pipeline.configs.compare import EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.experiment import load_study
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.published_weights import study_of_weights
from pipeline.configs.study import CheckConfig
from pipeline.errors import InputError
from pipeline.sources.ilsvrc import MD5
from pipeline.stages.check import check
from tests.blacklisted import write_blacklist
from tests.commands import TOP, in_process
from tests.sealed import seal

IMAGES = 50_000
DATA = PrepareConfig(source="imagefolder", name="any")
V3 = "inception_v3.tf_in1k.safetensors"


def member_of(folder: Path, file: str = V3) -> EvaluateConfig:
    (folder / file).write_bytes(b"weights")
    study = study_of_weights("family", DATA, folder)
    return study.check.results[0].members[0]


def judged(
    root: Path, member: EvaluateConfig, rank: np.ndarray, blacklist: Path | None, name: str
) -> tuple[dict[str, Verdict], list[NetworkErrors]]:
    """Check the result of one network at 144 crops."""
    seal(DATA, root, source_md5=MD5)
    seal(member, root)
    cell = EnsembleConfig(members=(member,), policy="crops_144")
    ids = [f"val/{name}_{k:08d}.JPEG" for k in range(1, IMAGES + 1)]
    zeros, classes = np.zeros(IMAGES, np.int64), [str(k) for k in range(1000)]
    write_result(cell, root, Hits(ids, zeros, rank, zeros, [rank], {}), [0], classes, [])
    listed = None if blacklist is None else Blacklist.of(blacklist)
    config = CheckConfig(results=(cell,), family=True, blacklist=listed)
    verdicts = {verdict.claim: verdict for verdict in check(config, root)}
    return verdicts, sealing.CHECK.unseal(config, root).networks or []


def test_numbers_are_judged_on_the_images_they_are_of(tmp_path: Path) -> None:
    """All images of the list are missed, and 18.77 % of the others at first guess."""
    rank = np.zeros(IMAGES, np.int64)
    rank[: 1762 + 9054] = 1
    rank[: 1762 + 2026] = 7
    listed = write_blacklist(tmp_path / "list.txt", range(1, 1763))
    verdicts, networks = judged(tmp_path, member_of(tmp_path), rank, listed, "ILSVRC2012_val")
    first, fifth = verdicts["R25a"], verdicts["R25b"]
    assert (first.decision, fifth.decision) == ("reproduced", "reproduced")
    assert first.measured == 9054 / 48_238
    assert fifth.measured == 2026 / 48_238
    assert first.words == (
        "within the tolerance; on the 48,238 images that are not on the blacklist, and 21.63 % on"
        " all 50,000; weights are Google's, of TF-Slim, known by their name; validation images"
        " recognised by the MD5 of their archives"
    )
    again = verdicts["R29a"]  # on all 50,000 images
    assert (again.decision, again.measured) == ("not_reproduced", 10816 / 50_000)
    assert verdicts["R23a"].words == "the study has no result for Inception-v3, 1 crop"
    assert verdicts["R35b"].words == "the study has no weights inception_v4.tf_in1k.safetensors"
    assert verdicts["R20a"].words == "neither timm nor torchvision has this network"
    assert "R1" not in verdicts
    assert len(verdicts) == 68
    (network,) = networks
    assert (network.num_images, network.num_counted) == (50_000, 48_238)
    assert network.top1_error == 10816 / 50_000
    assert network.counted_top5_error == 2026 / 48_238


@pytest.mark.parametrize(("with_list", "name"), [(False, "ILSVRC2012_val"), (True, "cat")])
def test_without_list_or_numbers_nothing_is_judged_on_it(
    tmp_path: Path, with_list: bool, name: str
) -> None:
    listed = write_blacklist(tmp_path / "list.txt", range(1, 1763)) if with_list else None
    rank = np.zeros(IMAGES, np.int64)
    verdicts, networks = judged(tmp_path, member_of(tmp_path), rank, listed, name)
    assert verdicts["R25a"].decision == "not_run"
    assert "blacklist, which the study does not name (--blacklist)" in verdicts["R25a"].words
    assert verdicts["R29a"].decision == "not_reproduced"
    assert networks[0].num_counted is None


def test_other_entry_of_pixels_is_another_measurement(tmp_path: Path) -> None:
    member = member_of(tmp_path)
    other = member.but(classifier=member.classifier.but(std=(1.0, 1.0, 1.0), input_size=320))
    verdicts, _ = judged(tmp_path, other, np.zeros(IMAGES, np.int64), None, "ILSVRC2012_val")
    assert verdicts["R29a"].decision == "not_run"
    assert "ran at 320 px; it entered pixels with std=1+1+1" in verdicts["R29a"].words


def test_the_folder_says_which_networks_run(tmp_path: Path) -> None:
    path = TOP / "experiments/inception_family.py"
    options = ["--weights-folder", str(tmp_path), "--data", str(tmp_path)]
    with pytest.raises(InputError, match="has no file of published weights; expected one or more"):
        load_study(path, options)
    for file in (V3, "resnet50.tv_in1k.safetensors", "vgg16.tv_in1k.safetensors", "other.pth"):
        (tmp_path / file).write_bytes(file.encode())
    study = load_study(path, options)
    assert [(r.num_models, r.policy) for r in study.check.results] == [
        *((models, p) for models in (1, 3) for p in ("crops_1", "crops_10", "v3_12", "crops_144")),
        (1, "resnet_dense"),
        (1, "vgg_150"),
    ]
    sizes = {m.classifier.arch: m.classifier.input_size for m in study.check.results[0].members}
    assert sizes["timm:inception_v3.tf_in1k"] == 299
    assert sizes["timm:resnet50.tv_in1k"] == 224
    assert [arm.name for arm in study.comparisons[0].arms] == [
        "Inception-v3", "ResNet-50", "VGG-16 (D)",
    ]  # fmt: skip
    cheap = load_study(path, [*options, "--crops", "1"])
    assert {result.policy for result in cheap.check.results} == {"crops_1"}


@pytest.mark.slow  # two large networks, on a handful of images
def test_from_a_folder_of_weights_to_a_report(tmp_path: Path) -> None:
    """Random weights under the published names, on images of another origin."""
    torch.manual_seed(0)
    folder, images = tmp_path / "weights", tmp_path / "images"
    folder.mkdir()
    resnet = timm.create_model("resnet50", num_classes=1000)
    save_file(resnet.state_dict(), folder / "resnet50.tv_in1k.safetensors")
    googlenet = models.googlenet(weights=None, aux_logits=True, init_weights=False)
    torch.save(googlenet.state_dict(), folder / "googlenet-1378be20.pth")
    for k in range(1000):
        place = images / f"n{k:08d}"
        place.mkdir(parents=True)
        if k in (3, 500):
            for j in (1, 2):
                name = f"ILSVRC2012_val_{1000 * j + k:08d}.JPEG"
                Image.new("RGB", (60, 50), (k % 256, 40 * j, 90)).save(place / name)
    listed = write_blacklist(tmp_path / "list.txt", [1003, 2003, *range(40_000, 41_760)])
    ended = in_process(
        "run", "inception_family", "--weights-folder", folder, "--data", images, "--blacklist",
        listed, "--crops", "1", "--root", tmp_path / "root",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "on the 2 images that are not on the blacklist (on all 4:" in ended.stdout
    assert "not run: R20a R20b" in ended.stdout
    results = next(tmp_path.glob("root/reports/inception_family-*/RESULTS.md")).read_text()
    assert "| timm:resnet50.tv\\_in1k | 1 | 4 |" in results or "resnet50" in results
    assert "the study has no weights inception_v4.tf_in1k.safetensors" in results.replace("\\", "")
    assert "has 4 images of 1000 classes, not 50000 of 1000" in results
