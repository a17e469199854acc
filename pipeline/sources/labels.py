"""The labels of tables: which column holds them, and the class of each value."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import pyarrow.compute as pc

from pipeline.errors import InputError, did_you_mean
from pipeline.sources.class_order import by_number, numbers_in_words

NAMES = ("label", "labels", "class", "cls", "fine_label", "target", "category", "wnid")
UNLABELLED = -1  # as the Hub's test splits have it
CHOOSE = "choose one by --label-column (label_column)"


class Labels(NamedTuple):
    """The classes in order, and the place of each value of a column among them.

    A value that is not there is of no class.
    """

    column: str
    classes: list[str]
    places: dict[Any, int]
    notes: tuple[str, ...] = ()


def labels_of(
    splits: Mapping[str, Any],
    where: str,
    column: str | None = None,
    classes: Sequence[str] | None = None,
) -> Labels:
    """Return the labels of the splits of a table.

    Without a `column` it is the one of kind ClassLabel, or else the one that is named
    as labels are. Its values are numbers of named classes, numbers alone, or names.
    `classes` names the numbers 0, 1 ..., or is the order of the names.

    Raises:
        InputError: there is no such column, or several; the splits have other classes;
            or a value is none of `classes`.
    """
    some = next(iter(splits.values()))
    chosen = _column(some.features, where, column)
    features = [found.features[chosen] for found in splits.values()]
    if all(isinstance(feature, datasets.ClassLabel) for feature in features):
        return _of_names(chosen, [list(feature.names) for feature in features], where, classes)
    values = sorted({value for found in splits.values() for value in _values(found, chosen)})
    values = [value for value in values if value != UNLABELLED]
    if not values or type(values[0]) not in (int, str):
        kind = type(features[0]).__name__ if not values else type(values[0]).__name__
        raise InputError(
            f"{where}: column {chosen} holds {kind}; expected whole numbers or names of classes"
        )
    if type(values[0]) is str:
        names = list(classes) if classes else by_number(values, where)
        places: dict[Any, int] = {name: place for place, name in enumerate(names)}
    elif classes:
        names, places = list(classes), {number: number for number in range(len(classes))}
    else:
        names = [str(number) for number in values]
        places = {number: place for place, number in enumerate(values)}
    if unknown := [value for value in values if value not in places]:
        raise InputError(
            f"{where}: column {chosen} has {unknown[0]!r}, which is none of the {len(names)}"
            " classes of --classes"
        )
    return Labels(chosen, names, places, numbers_in_words(names, f"labels of column {chosen}"))


def _of_names(
    column: str, names: list[list[str]], where: str, classes: Sequence[str] | None
) -> Labels:
    if any(each != names[-1] for each in names):
        raise InputError(f"{where}: the splits have other class names in column {column}")
    if classes and list(classes) != names[-1]:
        raise InputError(
            f"{where}: column {column} names its {len(names[-1])} classes itself, otherwise than"
            " --classes; go without --classes"
        )
    ordered = by_number(names[-1], where)
    places = {number: ordered.index(name) for number, name in enumerate(names[-1])}
    notes = numbers_in_words(ordered, "names of the classes") if ordered != names[-1] else ()
    return Labels(column, ordered, places, notes)


def _column(features: Any, where: str, column: str | None) -> str:
    has = ", ".join(f"{name} ({_kind(feature)})" for name, feature in features.items())
    if column is not None:
        if column not in features:
            raise InputError(
                f"{where}: has no column {column}{did_you_mean(column, list(features))}; its"
                f" columns: {has}"
            )
        return column
    named = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    chosen = named or [name for name in features if name.lower() in NAMES]
    if len(chosen) != 1:
        raise InputError(
            f"{where}: has {len(chosen)} columns of labels{_listed(chosen)}; {CHOOSE}; its columns:"
            f" {has}"
        )
    return str(chosen[0])


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _kind(feature: Any) -> str:
    return str(getattr(feature, "dtype", type(feature).__name__))


def _values(found: Any, column: str) -> list[Any]:
    values: list[Any] = pc.unique(found.data.column(column)).to_pylist()
    return [value for value in values if value is not None]
