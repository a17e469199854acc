"""WebDataset's tar files of pictures whose colours say their class."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.labelled_pictures import picture

Parts = Sequence[tuple[str, bytes]]


def write_tar(path: Path, parts: Parts) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in parts:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sample(key: str, label: int, kind: str = "jpg", form: str = "cls") -> Parts:
    """Return the members of an image: its label as `cls`, as `json`, or as both."""
    encoded = picture(label, "PNG" if kind == "png" else "JPEG")
    labels = {"cls": b"%d" % label, "json": b'{"label": %d, "filename": "x"}' % label}
    wanted = labels if form == "both" else {form: labels[form]}
    return [*((f"{key}.{each}", text) for each, text in wanted.items()), (f"{key}.{kind}", encoded)]
