"""Other values of single fields in a whole study: the option --set.

A setting such as `train.learning_rate=0.02` holds for every stage of that kind.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.compare import CompareConfig
from pipeline.configs.study import Study
from pipeline.configs.wrong_fields import LONGEST_VALUE, clipped, one_line
from pipeline.errors import InputError, did_you_mean

EXPECTED = "expected STAGE.FIELD=VALUE, such as train.learning_rate=0.02"
STAGES = ("prepare", "train", "evaluate")  # the others only take what these have made
NOT_SET = {"version", "source", "data", "classifier"}  # they say what a config is
C = TypeVar("C", bound=Frozen)
Tree = dict[str, Any]  # fields to values, or to a tree of a config's own fields


def with_settings(study: Study, settings: Sequence[str], may_be_same: bool = False) -> Study:
    """Return a study with other values of some fields, which its title names.

    Where they change nothing, the study itself is returned if it `may_be_same`.

    Raises:
        InputError: a setting names no field, its value is out of range, it changes
            nothing, or arms that differ in the field become one.
    """
    if not settings:
        return study
    trees: dict[str, Tree] = {}
    for setting in settings:
        stage, path, value = _parsed(setting)
        _put(trees.setdefault(stage, {}), path, value, setting)
    words = ", ".join(settings)
    try:
        changed = _changed(study, trees, {})
        named = changed.but(title=f"{study.title}; {words}")
    except ValidationError as error:
        raise InputError(f"--set {words}: {one_line(error)}") from None
    if changed.hash == study.hash and changed == study and may_be_same:
        return study
    if changed.hash == study.hash and changed == study:
        raise InputError(f"--set {words}: changes nothing in {study.name}")
    for before, after in zip(study.comparisons, changed.comparisons, strict=True):
        _refuse_equal(before, after, words)
    return named if changed.hash != study.hash else changed  # a resource changes no number


def _parsed(setting: str) -> tuple[str, list[str], Any]:
    """Return the stage, the path of the field below it, and the value of a setting."""
    name, equals, text = setting.partition("=")
    stage, *path = name.strip().split(".")
    if not equals or not path:
        raise InputError(f"--set {clipped(setting, LONGEST_VALUE)}: {EXPECTED}")
    if stage not in STAGES:
        hint = did_you_mean(stage, STAGES) or f"; expected {', '.join(STAGES)}"
        raise InputError(f"--set {clipped(setting, LONGEST_VALUE)}: no stage {stage}{hint}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # a plain word
        value = text
    return stage, path, value


def _put(tree: Tree, path: Sequence[str], value: Any, setting: str) -> None:
    *tables, field = path
    for table in tables:
        tree = tree.setdefault(table, {})
    if not isinstance(tree, dict) or field in tree:
        raise InputError(f"--set {clipped(setting, LONGEST_VALUE)}: sets a field a second time")
    tree[field] = value


def _changed(config: C, trees: Mapping[str, Tree], known: dict[Any, Any]) -> C:
    """Return a config in which each stage, however deep, has the values of its tree."""
    if config in known:
        done: C = known[config]
        return done
    changes: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        new = _each(value, trees, known)
        if new is not value:
            changes[name] = new
    if isinstance(config, StageConfig) and config.stage in trees:
        changes |= _values(config, trees[config.stage], config.stage)
    changed = known[config] = config.but(**changes) if changes else config
    return changed


def _each(value: Any, trees: Mapping[str, Tree], known: dict[Any, Any]) -> Any:
    if isinstance(value, Frozen):
        return _changed(value, trees, known)
    if isinstance(value, tuple) and any(isinstance(item, Frozen) for item in value):
        items = tuple(_each(item, trees, known) for item in value)
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    return value


def _values(config: Frozen, tree: Tree, place: str) -> dict[str, Any]:
    """Return a tree's values for the fields of a config.

    Raises:
        InputError: the config has no such field, or it cannot be set.
    """
    fields = [name for name in type(config).model_fields if name not in NOT_SET]
    changes = {}
    for name, value in tree.items():
        if name not in fields:
            hint = did_you_mean(name, fields) or f"; its fields: {', '.join(fields)}"
            raise InputError(f"--set {place}.{name}: no such field{hint}")
        inner = getattr(config, name)
        changes[name] = (
            inner.but(**_values(inner, value, f"{place}.{name}"))
            if isinstance(inner, Frozen) and isinstance(value, dict)
            else value
        )
    return changes


def _refuse_equal(before: CompareConfig, after: CompareConfig, words: str) -> None:
    """Refuse a setting that makes two arms of a question one."""

    def sciences(arms: Iterable[Any]) -> list[tuple[object, ...]]:
        return [(arm.policy, *(member.hash for member in arm.members)) for arm in arms]

    if len(set(sciences(after.arms))) < len(set(sciences(before.arms))):
        raise InputError(
            f"--set {words}: arms of {before.question!r} differ in this field alone, and become"
            " the same"
        )
