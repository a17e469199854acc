"""Each source has a config, a reader of it, and only the fields that suit it."""

import inspect
from pkgutil import resolve_name

import pytest
from pydantic import ValidationError

from pipeline.configs.prepare import SOURCES, DigitsConfig, PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.sources.registry import READERS

# what version 3 wrote of every source before each had a class of its own
WRITTEN = {
    "version": 3,
    "name": "data",
    "path": None,
    "classes": None,
    "trust_archives": False,
    "only_val": False,
    "hub": None,
    "hub_config": None,
    "revision": None,
    "train_split": "train",
    "val_split": "validation",
    "reencode": None,
    "shard_mib": 256,
}
NEEDED = {
    "hub": {"hub": "me/colours", "revision": "0" * 40},
    "listed": {"train_list": "train.csv"},
}
HASHES = {
    "digits": "554e19801361a2aa",
    "imagefolder": "e780cb9b9645b380",
    "labelled_folder": "b7acec4d5cc25a76",
    "ilsvrc2012": "04556d8e5b8642e8",
    "hub": "172f4402c2563036",
    "datasets": "3288739179aa70ad",
    "unsplit_folder": "d62bec2cbf11443a",
    "webdataset": "2aff52b5b4531978",
    "listed": "11ef5e407b8c961a",
}


def test_every_source_has_a_reader_of_its_config() -> None:
    assert list(READERS) == list(SOURCES)
    for source, place in READERS.items():
        reader = resolve_name(f"pipeline.sources.{place}")
        assert inspect.get_annotations(reader)["config"] is SOURCES[source]


@pytest.mark.parametrize("source", SOURCES)
def test_a_config_of_an_earlier_file_is_the_same_artefact(source: str) -> None:
    """Also within a training, and when it is written anew."""
    fields = WRITTEN | {"source": source} | NEEDED.get(source, {})
    config = PrepareConfig.model_validate(fields)
    assert type(config) is SOURCES[source]
    assert config.hash == HASHES[source]
    run = TrainConfig.model_validate({"data": fields, "num_epochs": 1})
    assert TrainConfig.model_validate_json(run.model_dump_json()).data == run.data == config


def test_either_spelling_makes_the_same() -> None:
    assert PrepareConfig(source="digits", name="digits") == DigitsConfig(name="digits")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "digit"}, "source digit is none of digits, imagefolder, labelled_folder, "),
        ({}, "source None is none of digits"),
        (
            {"source": "digits", "classes": ["a"]},
            "classes is for source labelled_folder or hub or datasets or webdataset or listed, not",
        ),
        (
            {"source": "labelled_folder", "reencode": {}},
            "reencode is for source imagefolder or ilsvrc2012 or hub or datasets or webdataset",
        ),
        (
            {"source": "digits", "shard_mb": 1},
            "shard_mb = 1: no such field; did you mean shard_mib?",
        ),
        ({"source": "hub", "hub": "me/colours"}, "source hub needs hub (a name) and revision"),
        (
            {"source": "ilsvrc2012", "only_val": True, "reencode": {}},
            "reencode is for training images, which only_val leaves out",
        ),
    ],
)
def test_a_field_that_does_not_suit_is_one_line(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as direct:
        PrepareConfig(name="data", **fields)
    assert one_line(direct.value).startswith(message)
    with pytest.raises(ValidationError) as within:
        TrainConfig.model_validate({"data": {"name": "data", **fields}, "num_epochs": 1})
    assert message in one_line(within.value)
