"""The report shows what 144 crops set right, with the crops drawn where they lie."""

import base64
import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.result import Result
from pipeline.configs.crops import CropsConfig
from pipeline.configs.study import Study
from pipeline.reporting.gallery import SIDE, rescues, with_crops
from pipeline.stages.ensemble import ensemble


def opened(picture: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture)))


def test_the_crops_are_drawn_where_they_lie() -> None:
    """The single crop of a square image is its middle; a wide one has three squares."""
    black = Image.new("RGB", (32, 32))
    drawn = np.asarray(opened(with_crops(black, 224, CropsConfig()))).astype(int)
    assert drawn.shape == (SIDE, SIDE, 3)
    inset = round(SIDE * 16 / 256)
    assert drawn[SIDE // 2, inset : inset + 3].mean() > 150  # white
    assert drawn[SIDE // 2, SIDE // 2].max() < 60
    wide = opened(with_crops(Image.new("RGB", (64, 32)), 224, CropsConfig()))
    assert wide.size == (2 * SIDE, SIDE)
    assert np.asarray(wide)[SIDE // 2, 2 * SIDE - 2].max() > 100  # the right square's edge


def test_rescued_images_are_right_with_many_crops_and_wrong_with_one(
    seven_root: Path, seven_members: Study, tmp_path: Path
) -> None:
    cells = [cell for cell in seven_members.check.results if cell.choose == "best_top1"]
    results = [Result(cell, seven_root) for cell in cells]
    shown = rescues(results, seven_root)
    one, many = (
        next(result for result in results if result.config.policy == policy)
        for policy in ("crops_1", "crops_144")
    )
    ranks = dict(zip(one.image_ids, one.hits("rank").tolist(), strict=True))
    right = {name for name, rank in zip(many.image_ids, many.hits("rank"), strict=True) if not rank}
    expected = {name for name, rank in ranks.items() if 1 <= rank < 3 and name in right}
    assert {each.image_id for each in shown} == expected != set()
    assert [each.rank for each in shown] == sorted((each.rank for each in shown), reverse=True)
    assert all(opened(each.picture).size[0] >= SIDE for each in shown)
    published = tmp_path / "root"
    shutil.copytree(seven_root, published)
    shutil.rmtree(Dataset(cells[0].members[0].data, published).shards_folder)
    assert rescues([Result(cell, published) for cell in cells], published) == []


def test_a_result_may_hold_no_picture(
    seven_root: Path, seven_members: Study, tmp_path: Path
) -> None:
    """Where the terms of the data forbid it; nothing else differs."""
    cell = seven_members.check.results[0]
    root = tmp_path / "root"
    shutil.copytree(seven_root, root)
    shutil.rmtree(root / cell.folder)
    plain = cell.but(pictures=False)
    assert plain.folder == cell.folder
    mistakes = ensemble(plain, root).mistakes
    with_pictures = Result(cell, seven_root).mistakes
    assert all(mistake.picture for mistake in with_pictures)
    assert mistakes == [each.model_copy(update={"picture": ""}) for each in with_pictures]
