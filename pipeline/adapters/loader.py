"""Training patches in the order of the steps (torch's DataLoader around a stateless stream)."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from pipeline.adapters import images
from pipeline.artefacts.dataset import Split
from pipeline.paper import schedule
from pipeline.paper.augmentation import stream, training_distortion, training_patch
from pipeline.study import TrainConfig


class Patches(TorchDataset[tuple[np.ndarray, int]]):
    """Training patches by (epoch, index): the same pixels for the same key, in any process."""

    def __init__(self, config: TrainConfig, split: Split):
        self.config, self.split = config, split

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        epoch, index = key
        image = images.decode(self.split.encoded(index))
        rng = stream("patch", self.config.data_seed, epoch, index)
        patch = training_patch(rng, image.width, image.height, self.config.min_area, self.config.sampling)
        pixels = images.cut_patch(image, patch, self.config.input_size)
        if self.config.photometric:
            pixels = images.distort(pixels, training_distortion(rng))
        return pixels.copy(), int(self.split.labels[index])


def keys(config: TrainConfig, labels: np.ndarray, steps: range, rank: int, world_size: int) -> Iterator[list[tuple[int, int]]]:
    """One rank's share of the global batch of each step, as (epoch, index); the ranks share the batch without overlap."""
    size = config.global_batch_size
    order, order_epoch = np.empty(0, np.int64), -1
    for step in steps:
        batch = []
        for position in range(step * size + rank, (step + 1) * size, world_size):
            epoch, place = divmod(position, len(labels))
            if epoch != order_epoch:
                order = schedule.epoch_order(labels, config.data_seed, epoch, config.class_balance)
                order_epoch = epoch
            batch.append((epoch, int(order[place])))
        yield batch


def training_batches(
    config: TrainConfig, split: Split, steps: range, rank: int, world_size: int, num_workers: int, pin_memory: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's pixels (N x H x W x 3, uint8) and labels (N) for each of the steps."""
    loader = DataLoader(
        Patches(config, split),
        batch_sampler=keys(config, split.labels, steps, rank, world_size),
        num_workers=num_workers,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(0),  # private: the loader must not draw from the one that feeds dropout
    )
    yield from loader
