"""Images that many crops set right and a single one missed, with the crops drawn."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.result import Result
from pipeline.configs.crops import CropsConfig
from pipeline.images.decode import BadImage, decode
from pipeline.paper.crops import crops_144, scaled_size
from pipeline.paper.policies import crops_1

NUM_SHOWN = 12  # ours: two or three rows of a page
SIDE = 240  # ours: pixels of the shorter side of a picture
# ours, by scale: the four of matplotlib's that most people tell apart; white the single
COLOURS, SINGLE = ("#1f77b4", "#2ca02c", "#ff7f0e", "#d62728"), "#ffffff"


class Rescue(NamedTuple):
    """An image, its class, where that ranked with one crop, and a JPEG in base64."""

    image_id: str
    label: str
    rank: int
    picture: str


def rescues(results: Sequence[Result], root: Path) -> list[Rescue]:
    """Return images that are right with 144 crops, and farthest from it with one.

    There are none where a study has no such pair of results, or its images are not
    under this root, as where it was published.
    """
    pair = {
        result.config.policy: result
        for result in results
        if result.config.members == results[-1].config.members
        and result.config.choose == results[-1].config.choose
    }
    one, many = pair.get("crops_1"), pair.get("crops_144")
    if one is None or many is None:
        return []
    member = many.config.members[0]
    data = Dataset(member.data, root)
    if not data.shards_folder.is_dir():
        return []
    split, before, after = data.split("val"), one.hits("rank"), many.hits("rank")
    places = np.flatnonzero((before >= 1) & (after == 0) & (before < data.num_classes))
    shown = places[np.argsort(-before[places], kind="stable")][:NUM_SHOWN].tolist()
    found = []
    for place in shown:
        try:
            picture = with_crops(
                decode(split.encoded(place)), member.classifier.input_size, member.crops
            )
        except BadImage:
            continue
        label = data.classes[int(split.labels[place])]
        found.append(Rescue(split.image_ids[place], label, int(before[place]), picture))
    return found


def with_crops(image: Image.Image, input_size: int, config: CropsConfig) -> str:
    """Return a picture with the outlines of its 144 crops, a colour for each scale.

    The single crop is white. The result is a JPEG in base64.
    """
    width, height = image.size
    times = SIDE / min(width, height)
    drawn = image.resize((round(width * times), round(height * times)))
    pen = ImageDraw.Draw(drawn)
    crops = dict.fromkeys(
        crop._replace(mirrored=False) for crop in crops_144(width, height, input_size, config.rules)
    )
    scales = sorted({crop.scale for crop in crops})
    single = crops_1(width, height, input_size, config.rules)[0]
    for crop in (*crops, single):
        across, down = scaled_size(width, height, crop.scale, config.rules)
        x, y = drawn.width / across, drawn.height / down
        corners = (
            crop.left * x,
            crop.top * y,
            (crop.left + crop.side) * x - 1,
            (crop.top + crop.side) * y - 1,
        )
        is_single = crop is single
        colour = SINGLE if is_single else COLOURS[scales.index(crop.scale) % len(COLOURS)]
        pen.rectangle(corners, outline=colour, width=3 if is_single else 1)
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()
