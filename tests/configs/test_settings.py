"""--set: another value of any field, in every stage of its kind."""

import pytest

from pipeline.configs import TrainConfig
from pipeline.configs.experiment import load_study
from pipeline.errors import InputError


def trainings(*arguments: str, settings: tuple[str, ...] = ()) -> list[TrainConfig]:
    study = load_study("demo", arguments, settings)
    return [config for config in study.stages if isinstance(config, TrainConfig)]


def test_a_setting_holds_for_every_training_and_names_itself() -> None:
    settings = ("train.learning_rate=0.02", "train.network.width=0.5", "train.init=caffe")
    study = load_study("demo", ["--members", "3"], settings)
    runs = [config for config in study.stages if isinstance(config, TrainConfig)]
    assert {(run.learning_rate, run.shape and run.shape.width, run.init) for run in runs} == {
        (0.02, 0.5, "caffe")
    }
    assert len(runs) == 3
    assert study.title.endswith(
        "; train.learning_rate=0.02, train.network.width=0.5, train.init=caffe"
    )
    assert study.hash != load_study("demo", ["--members", "3"]).hash


def test_values_are_numbers_words_lists_and_whole_tables() -> None:
    (run, *_) = trainings(
        settings=(
            "train.network.aux_heads=[]",
            "train.clip_norm=null",
            "train.patches.scaled_decoding=true",
            'train.local_sgd={"workers": 2, "steps": 4}',
        )
    )
    assert run.network.heads == ()
    assert run.clip_norm is None
    assert run.patches.scaled_decoding
    assert run.local_sgd is not None
    assert run.local_sgd.steps == 4
    assert (
        trainings(settings=("train.local_sgd.workers=2", "train.local_sgd.steps=4"))[0].local_sgd
        == run.local_sgd
    )


def test_a_resource_changes_neither_hash_nor_title() -> None:
    plain, other = (
        load_study("demo", settings=settings)
        for settings in ((), ("train.max_device_batch_size=8",))
    )
    assert other.hash == plain.hash
    assert other.title == plain.title
    assert other != plain


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.learning_rte=1", "did you mean learning_rate?"),
        ("train.network.with=1", "did you mean width?"),
        ("train.network.width=9", "less than or equal to 4"),
        ("train.data=1", "no such field"),
        ("train.version=1", "no such field"),
        ("trian.width=1", "did you mean train?"),
        ("learning_rate=1", "expected STAGE.FIELD=VALUE"),
        ("train.learning_rate", "expected STAGE.FIELD=VALUE"),
        ("train.learning_rate=fast", "learning_rate = 'fast'"),
        ("train.learning_rate=0.04", "changes nothing"),
        ("train.network=1", "network"),
        ("train.learning_rate.x=1", "learning_rate"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        load_study("demo", settings=(setting,))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_field_is_set_once() -> None:
    with pytest.raises(InputError, match="a second time"):
        load_study("demo", settings=("train.aux_weight=0", "train.aux_weight=1"))


def test_arms_that_would_become_one_are_refused() -> None:
    with pytest.raises(InputError, match="become the same"):
        load_study("aux_heads", settings=('train.network.aux_heads=["4a"]',))
    assert load_study("aux_heads", settings=("train.learning_rate=0.02",))
