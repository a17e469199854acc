"""The place of each stage in its study, as `plan` shows it."""

from pipeline.configs.experiment import load_study
from pipeline.tools.places import places
from tests.commands import TOP


def test_a_stage_is_named_by_member_arm_and_seed() -> None:
    """An arm that differs only in its crops has no members of its own."""
    study = load_study(TOP / "experiments/caltech101.py", ("--members", "3", "--seeds", "2"))
    words = places(study)
    assert [words[study.trained_member(number).hash] for number in range(3)] == [
        "member 1 of 3; arm both; seed 0",
        "member 2 of 3; arm both; seed 1",
        "member 3 of 3; seed 2",
    ]
    none = study.comparisons[0].arms[1].members
    assert [words[member.hash] for member in none] == ["arm none; seed 0", "arm none; seed 1"]
    assert words[study.check.results[0].hash] == "1 model, 1 crop"
    assert words.keys() == {config.hash for config in study.stages}
