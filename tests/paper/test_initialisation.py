"""Initial weights and the pixels that they are made for."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import CAFFE_PIXELS, caffe_quick, paper
from pipeline.paper.googlenet import GoogLeNet, normalise
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.paper.preprocessing import CAFFE_PREPROCESSING, PREPROCESSING, Preprocessing

SIDE = 112


def views() -> torch.Tensor:
    """Return twelve different views of scikit-learn's two photographs."""
    places = [(x, y, x + 200, y + 200) for x, y in product((0, 200, 400), (0, 200))]
    cuts = [
        np.array(Image.fromarray(photograph).crop(place).resize((SIDE, SIDE)))
        for photograph in load_sample_images().images
        for place in places
    ]
    return torch.from_numpy(np.stack(cuts))


@torch.no_grad()
def share(init: str, preprocessing: Preprocessing) -> float:
    """Return the share of 5b's pooled signal that differs between images at the start:
    root mean squares, over three seeds.
    """
    shares = []
    for seed in range(3):
        network = GoogLeNet(10, SIDE, aux_heads=()).eval()
        INITIALISATIONS[init](network, torch.Generator().manual_seed(seed))
        signal = network.head(network._features(normalise(views(), preprocessing))[0])
        shares.append(float(signal.std(dim=0).square().mean() / signal.square().mean()) ** 0.5)
    return float(np.mean(shares))


@pytest.mark.usefixtures("one_thread")
def test_how_much_of_the_signal_is_the_images() -> None:
    """Caffe's filler is made for pixels that are not divided by their deviation: its
    biases of 0.2 drown others. Kaiming's is made for divided pixels.
    """
    drowned = share("caffe", PREPROCESSING)
    caffes = share("caffe", CAFFE_PREPROCESSING)
    kaimings = share("kaiming", PREPROCESSING)
    assert drowned < 0.03
    assert caffes > 4 * drowned
    assert kaimings > 1.5 * caffes


def test_recipes_pair_what_belongs_together() -> None:
    images = PrepareConfig(source="ilsvrc2012", name="ilsvrc2012")
    quick, papers = caffe_quick(images), paper(images)
    assert (quick.init, quick.pixels) == ("caffe", CAFFE_PIXELS)
    assert (papers.init, papers.pixels.preprocessing) == ("kaiming", PREPROCESSING)
