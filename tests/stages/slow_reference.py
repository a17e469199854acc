"""The protocol of the paper's evaluation, written out again."""

import numpy as np
import torch
from PIL import Image

from pipeline.configs.evaluate import POLICIES
from pipeline.paper.preprocessing import PREPROCESSING


def slow_reference(
    network: torch.nn.Module, image: Image.Image, size: int
) -> dict[str, np.ndarray]:
    """Return the scores of the protocol of PAPER.md 3.1, written out again: one crop at
    a time, nothing shared.
    """

    def probabilities(cut: Image.Image) -> np.ndarray:
        pixels = torch.tensor(np.array(cut), dtype=torch.float32)
        x = (pixels - torch.tensor(PREPROCESSING.mean)) / torch.tensor(PREPROCESSING.std)
        with torch.no_grad():
            return torch.softmax(network(x.permute(2, 0, 1)[None]), 1)[0].numpy()

    outputs: dict[str, list[np.ndarray]] = {policy: [] for policy in POLICIES}
    for scale_number, scale in enumerate(size * s // 224 for s in (256, 288, 320, 352)):
        width, height = image.size
        short = min(width, height)
        resized = image.resize(
            (width * scale // short, height * scale // short), Image.Resampling.BILINEAR
        )
        slack = max(resized.size) - scale
        for square_number, offset in enumerate((0, slack // 2, slack)):
            left, top = (offset, 0) if width >= height else (0, offset)
            square = resized.crop((left, top, left + scale, top + scale))
            d = scale - size
            views = [
                square.crop((x, y, x + size, y + size))
                for x, y in ((d // 2, d // 2), (0, 0), (d, 0), (0, d), (d, d))
            ]
            for view_number, view in enumerate(
                [*views, square.resize((size, size), Image.Resampling.BILINEAR)]
            ):
                for mirrored in (False, True):
                    cut = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else view
                    value = probabilities(cut)
                    outputs["crops_144"].append(value)
                    if (scale_number, square_number) == (0, 1) and view_number < 5:
                        outputs["crops_10"].append(value)
                        if view_number == 0 and not mirrored:
                            outputs["crops_1"].append(value)
    assert [len(values) for values in outputs.values()] == [1, 10, 144]
    return {policy: np.mean(values, axis=0) for policy, values in outputs.items()}
