"""A prepared data set for people: counts, sizes, what was left out, and a contact
sheet.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.artefacts.dataset import Dataset, Split
from pipeline.configs.prepare import HubConfig, PrepareConfig
from pipeline.images import decode as images
from pipeline.reporting.preparation import in_words
from pipeline.reporting.wording import templates
from pipeline.runtime import disk
from pipeline.sources.base import SPLITS

MAX_ROWS = 200  # of what was left out, in the page
SPLIT_TITLES = (
    "images",
    "MB",
    "classes",
    "a class: least",
    "most",
    "shorter side: least",
    "median",
    "most",
    "longer / shorter: most",
)


def show(config: PrepareConfig, root: Path, num_pictures: int, out: Path) -> str:
    """Write the page to `out`, and return its figures as text."""
    data = Dataset(config, root)
    splits = {name: split for name in SPLITS if len(split := data.split(name))}
    rows = [
        {"split": name, "figures": _figures(split, data.num_classes)}
        for name, split in splits.items()
    ]
    names = _class_names(data)
    per_class = data.manifest.images_per_class
    facts = {
        "title": config.name,
        "source": (
            f"hub {config.hub} at {config.revision}"
            if isinstance(config, HubConfig)
            else config.source
        ),
        "finished_at": data.manifest.provenance.finished_at,
        "folder": data.folder,
        "words": in_words(data.manifest),
        "split_titles": SPLIT_TITLES,
        "splits": rows,
        "pictures": [
            picture
            for name, split in splits.items()
            for picture in _pictures(name, split, names, max(1, num_pictures // len(splits)))
        ],
        "rejected": data.rejected[:MAX_ROWS],
        "num_rejected": len(data.rejected),
        "leaks": data.leaks[:MAX_ROWS],
        "num_leaks": data.manifest.num_leaks,
        "classes": [
            {"name": name, **{split: per_class[split][label] for split in SPLITS}}
            for label, name in enumerate(names)
        ],
    }
    disk.write_atomic(out, templates().get_template("data.html").render(facts).encode())
    lines = [f"{config.name}: {line}" for line in in_words(data.manifest)]
    for row in rows:
        line = ", ".join(
            f"{title} {value}" for title, value in zip(SPLIT_TITLES, row["figures"], strict=True)
        )
        lines.append(f"  {row['split']}: {line}")
    return "\n".join(lines)


def _class_names(data: Dataset) -> list[str]:
    words = data.manifest.class_words
    return (
        [f"{name} {text}" for name, text in zip(data.classes, words, strict=True)]
        if words
        else data.classes
    )


def _figures(split: Split, num_classes: int) -> list[str]:
    sides = np.stack([split.column("width").to_numpy(), split.column("height").to_numpy()])
    sides = sides[:, sides[0] > 0]
    shorter, longer = sides.min(axis=0), sides.max(axis=0)
    counts = np.bincount(split.labels, minlength=num_classes)
    figures = [len(split), split.num_bytes / 1e6, (counts > 0).sum(), counts.min(), counts.max()]
    figures += (
        [shorter.min(), np.median(shorter), shorter.max(), (longer / shorter).max()]
        if shorter.size
        else [0] * 4
    )
    return [
        f"{value:.1f}" if number in (1, 8) else f"{value:.0f}"
        for number, value in enumerate(figures)
    ]


class Picture(NamedTuple):
    """An image as the page shows it; `thumbnail` is a JPEG in base64."""

    split: str
    image_id: str
    label: str
    size: str
    thumbnail: str


def _pictures(name: str, split: Split, names: list[str], count: int) -> list[Picture]:
    """Return pictures at even distances in the order of labels: every class has its
    share.
    """
    order = np.argsort(split.labels, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]
    widths, heights = split.column("width"), split.column("height")
    pictures = []
    for index in chosen.tolist():
        width, height = widths[index].as_py(), heights[index].as_py()
        thumbnail = _thumbnail(split.encoded(index)) if width else ""
        label = names[int(split.labels[index])]
        size = f"{width} x {height}"
        pictures.append(
            Picture(
                split=name,
                image_id=split.image_ids[index],
                label=label,
                size=size,
                thumbnail=thumbnail,
            )
        )
    return pictures


def _thumbnail(encoded: bytes) -> str:
    try:
        return images.thumbnail(encoded)
    except images.BadImage:  # damaged since; `data verify` says so
        return ""
