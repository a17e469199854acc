"""Names of artefacts follow from configs; options of experiments become configs."""

import pickle
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.configs.compare import EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.experiment import load_study
from pipeline.configs.network import NetworkConfig, PixelConfig, WeightsNote
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import CAFFE_PIXELS
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError

TOP = Path(__file__).parents[1]


def test_hash_is_of_science_not_of_resources(data: PrepareConfig, run_config: TrainConfig) -> None:
    assert data.but(path=Path("elsewhere")).hash == data.hash
    assert run_config.but(checkpoint_every_seconds=1.0).hash == run_config.hash
    assert run_config.but(learning_rate=0.5).hash != run_config.hash
    other_data = data.but(name="other")
    assert run_config.but(data=other_data).hash != run_config.hash


def test_a_hash_once_computed_is_nothing_but_faster(run_config: TrainConfig) -> None:
    """No copy with a changed field inherits it; equality, pickles and dumps do not see
    it.
    """
    fresh = run_config.model_copy()
    name = run_config.hash
    assert run_config.but(learning_rate=0.5).hash != name
    assert run_config.model_copy(update={"learning_rate": 0.5}).hash != name
    assert pickle.loads(pickle.dumps(run_config)).hash == name
    assert (run_config, hash(run_config)) == (fresh, hash(fresh))
    assert run_config.model_dump_json() == fresh.model_dump_json()
    assert run_config.but() == run_config


def test_hashes_do_not_drift() -> None:
    """A changed hash orphans every artefact that users have; raise `version` on
    purpose, never by accident.
    """
    data = PrepareConfig(source="imagefolder", name="colours", path=Path("anywhere"))
    run = TrainConfig(data=data, num_epochs=250)
    assert (data.hash, run.hash, EvaluateConfig(data=data, classifier=run).hash) == (
        "550235136daa4528",
        "bdb416e73ee2dfb3",
        "b5b6953344db6056",
    )


def test_defaults_do_not_drift() -> None:
    """The hash leaves defaults out, so a changed default must raise `version`. New
    fields may be added here freely.
    """
    data = PrepareConfig(source="imagefolder", name="colours")
    plain = {
        "version": 3,
        "trust_archives": False,
        "only_val": False,
        "train_split": "train",
        "val_split": "validation",
    }
    defaults: dict[str, object] = {}
    for source in ("ilsvrc2012", "datasets"):
        config = PrepareConfig(source=source, name="colours")
        defaults |= config.model_dump(exclude={"source", "name", "shard_mib"}, exclude_none=True)
    assert defaults == plain
    fields = TrainConfig(data=data, num_epochs=1).model_dump(exclude={"data", "num_epochs"})
    expected = tomllib.loads((Path(__file__).parent / "golden/train_defaults.toml").read_text())
    evaluation = EvaluateConfig(data=data, classifier=TrainConfig(data=data, num_epochs=1))
    assert evaluation.model_dump(exclude={"data", "classifier", "images_per_chunk"}) == {
        "version": 2,
        "weights": "averaged",
        "policies": ("crops_1", "crops_10", "crops_144"),
        "crops": {
            "long_side": "floor",
            "centre": "floor",
            "whole_square": "scaled",
            "ten_crops": "central_square",
            "aspect": "kept",
            "resize": "pil_bilinear",
            "decode_on": "host",
        },
        "precision": "fp32",
        "compiled": False,
    }
    cell = EnsembleConfig(members=(evaluation,), policy="crops_1")
    assert (cell.version, cell.choose) == (3, "all")
    off = dict.fromkeys(
        ("begin", "clip_norm", "local_sgd", "max_device_batch_size", "checkpoint_every_steps")
    )
    assert fields == {
        **expected,
        **off,
        "frozen": (),
        "rates": (),
        "optimizer_arguments": (),
        "network": {**expected["network"], "aux_heads": ("4a", "4d")},
        "pixels": PixelConfig().model_dump(),
    }


def test_policies_are_a_set(data: PrepareConfig, run_config: TrainConfig) -> None:
    names = ("crops_144_max", "crops_1", "dense", "crops_144", "crops_1")
    config = EvaluateConfig(data=data, classifier=run_config, policies=names)
    assert config.policies == ("crops_1", "crops_144", "crops_144_max", "dense")
    assert config.hash == config.but(policies=tuple(reversed(names))).hash
    with pytest.raises(ValidationError, match="no policy 'crops_144_mean'"):
        config.but(policies=("crops_144_mean",))
    flat = run_config.but(network=run_config.network.but(head="fully_connected"))
    with pytest.raises(
        ValidationError, match="policy dense needs a GoogLeNet with average pooling"
    ):
        config.but(classifier=flat)


@pytest.mark.parametrize(
    "fields",
    [
        {"arch": "googlenet"},
        {"arch": "python:build"},
        {"arch": "timm:resnet18", "weights": Path("w")},
        {
            "arch": "googlenet",
            "weights": Path("w"),
            "sha256": "0" * 64,
            "code": Path("c"),
            "code_sha256": "0" * 64,
        },
    ],
)
def test_a_foreign_classifier_is_whole(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="arch "):
        ForeignConfig.model_validate({"mean": (0, 0, 0), "std": (1, 1, 1), **fields})


def test_hash_survives_copies_and_files(study: Study) -> None:
    for config in study.stages:
        assert type(config).model_validate_json(config.model_dump_json()).hash == config.hash
    data = PrepareConfig(source="digits", name="digits")
    run = TrainConfig(data=data, num_epochs=4)
    assert run.hash == TrainConfig(data=data, num_epochs=3).but(num_epochs=4).hash
    with pytest.raises(ValidationError):
        run.but(learning_rate=-1)


def test_stages_come_after_their_inputs_and_once(study: Study) -> None:
    seen: set[str] = set()
    for config in study.stages:
        assert {source.hash for source in config.inputs} <= seen
        assert config.hash not in seen
        seen.add(config.hash)
    kinds = [config.stage for config in study.stages]
    assert [
        kinds.count(kind)
        for kind in ("prepare", "train", "evaluate", "ensemble", "check", "report")
    ] == [1, 2, 2, 6, 1, 1]


def test_configs_are_frozen_and_closed(run_config: TrainConfig) -> None:
    with pytest.raises(ValidationError):
        run_config.learning_rate = 1.0
    with pytest.raises(ValidationError, match="learning_rte"):
        TrainConfig.model_validate({**run_config.model_dump(), "learning_rte": 1.0})


@pytest.mark.parametrize(
    "path", sorted((TOP / "experiments").glob("*.py")), ids=lambda path: path.stem
)
def test_every_experiment_builds_and_says_what_to_expect(path: Path, tmp_path: Path) -> None:
    (tmp_path / "inception_v3.tf_in1k.safetensors").touch()
    takes_weights = "--weights-folder" in path.read_text()
    assert load_study(path, ["--weights-folder", str(tmp_path)] if takes_weights else []).stages
    for heading in ("Run:", "Expect:", "Cost:", "Differs:"):
        assert f"\n{heading}" in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--mebers", "3"],
            r"demo.py: No such option --mebers; did you mean --members\?$",
        ),
        (["--surplus"], r"demo.py: No such option --surplus; its options are: --members, --epochs"),
        (["--members", "many"], "'many' is not a valid int"),
        (["--epochs", "-1"], "num_epochs = -1.0: Input should be greater than 0"),
        (["surplus"], "unexpected extra argument"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load_study(TOP / "experiments/demo.py", arguments)
    assert "\n" not in str(raised.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ValidationError) as raised:
        NetworkConfig.model_validate({"width": list(range(999))})
    assert one_line(raised.value).startswith("width = [0, 1, 2, ")
    assert len(one_line(raised.value)) < 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such Python file"),
        ("x = 1", "defines no function experiment"),
        ("def experiment(:", "line 1: "),
        ("def experiment(): return 3", r"experiment\(\) returned int"),
        ("import nothing_of_this_name", "mine.py: line 1: ModuleNotFoundError: No module named"),
        (
            "def experiment():\n    raise ValueError('so\\nso')",
            "mine.py: line 2: ValueError: so so",
        ),
        ("def experiment(size: int): ...", "Missing option '--size'"),
    ],
)
def test_wrong_experiment_files_are_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_study(path, [])


def test_a_file_of_weights_says_of_itself_one_thing() -> None:
    """safetensors writes several entries in any order: equal weights, other bytes."""
    run = TrainConfig(data=PrepareConfig(source="digits", name="digits"), num_epochs=1)
    assert len(WeightsNote(network=run.network, pixels=CAFFE_PIXELS).metadata) == 1
