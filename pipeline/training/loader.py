"""Training patches in the order of the steps, by torch's DataLoader.

The draws are stateless.
"""

import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from multiprocessing.context import BaseContext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from pipeline.artefacts.dataset import Split
from pipeline.configs.train import TrainConfig
from pipeline.images.decode import BadImage
from pipeline.images.distortions import as_row, distort
from pipeline.images.patches import area_library, cut_patch
from pipeline.paper.augmentation import Patch, stream, training_distortion, training_patch
from pipeline.paper.order import epoch_order
from pipeline.runtime import fork_server
from pipeline.runtime.signals import ignore_notices
from pipeline.training.encoded import Encoded, cut, encode


class Batch(NamedTuple):
    """One rank's share of a step: pixels (N x H x W x 3, uint8) and labels (N).

    The distortions are those left to the device, as rows of `as_row` (N x P, or N x 0).
    """

    pixels_NHWC: Tensor
    labels_N: Tensor
    distortions_NP: Tensor


class Patches(TorchDataset[Batch | Encoded]):
    """Training patches by (epoch, index), as batches without their first dimension.

    The same key gives the same patch everywhere. An image that can no longer be decoded
    raises BadImage; preparation leaves out the images that never could be decoded.
    Where the device decodes, a patch is its image's file, and what is to be cut.
    """

    def __init__(self, config: TrainConfig, split: Split):
        self.config, self.split = config, split

    def __getitem__(self, key: tuple[int, int]) -> Batch | Encoded:
        epoch, index = key
        config = self.config
        rng = stream("patch", config.data_seed, epoch, index)

        def draw(width: int, height: int) -> Patch:
            return training_patch(
                rng, width, height, config.min_area, config.sampling, config.input_size
            )

        content = self.split.encoded(index)
        try:
            if on_device := config.patches.decode_on == "device":
                file, window = encode(content, draw)
            else:
                pixels = cut_patch(content, draw, config.input_size, config.patches)
        except BadImage as problem:
            raise BadImage(f"image {self.split.image_ids[index]}: {problem}") from None
        row = torch.empty(0)
        if config.photometric:
            distortion = training_distortion(rng)
            if config.patches.distort_on == "device":
                row = torch.tensor(as_row(distortion))
            else:
                pixels = torch.from_numpy(distort(pixels.numpy(), distortion))
        label = torch.tensor(int(self.split.labels[index]))
        return Encoded(file, window, label, row) if on_device else Batch(pixels, label, row)


def keys(
    config: TrainConfig, labels: np.ndarray, steps: range, rank: int, world_size: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield one rank's share of the global batch of each step, as (epoch, index).

    The shares of the ranks do not overlap.
    """
    size = config.global_batch_size
    order, order_epoch = np.empty(0, np.int64), -1
    for step in steps:
        batch = []
        for position in range(step * size + rank, (step + 1) * size, world_size):
            epoch, place = divmod(position, len(labels))
            if epoch != order_epoch:
                order = epoch_order(labels, config.data_seed, epoch, config.class_balance)
                order_epoch = epoch
            batch.append((epoch, int(order[place])))
        yield batch


def training_batches(
    config: TrainConfig,
    split: Split,
    steps: range,
    rank: int,
    world_size: int,
    num_workers: int,
    device: torch.device,
) -> Generator[Batch]:
    """Yield this rank's share of each step, for a device.

    `num_workers` processes decode ahead; with 0, this process decodes. Close the
    generator to end the workers: they end by themselves only if this process is killed.
    """
    is_encoded = config.patches.decode_on == "device"
    context, begin = _starting(device) if num_workers else (None, None)
    area_library()  # built once, before each worker would build it
    loader = DataLoader(
        Patches(config, split),
        batch_sampler=keys(config, split.labels, steps, rank, world_size),
        num_workers=num_workers,
        multiprocessing_context=context,
        pin_memory=device.type == "cuda" and not is_encoded,
        collate_fn=_together if is_encoded else None,
        worker_init_fn=begin,
        # its own: the loader must not draw from the generator of dropout
        generator=torch.Generator().manual_seed(0),
    )
    batches = iter(loader)
    try:
        for batch in batches:
            if is_encoded:
                pixels = cut(batch, config.input_size, device)
                batch = Batch(pixels, batch.labels_N, batch.distortions_NP)
            yield batch
    # also after an error of an image: its traceback would keep the workers alive, and
    # this process would wait for them
    finally:
        if num_workers:
            _end_workers(batches)


def start_method(device: torch.device) -> str:
    """Return how loader processes start: safe beside CUDA and NCCL, whose threads a
    fork of this process would lack (torch.nn.parallel.DistributedDataParallel's
    documentation warns of it), or by the fastest way beside a CPU.
    """
    return "forkserver" if device.type == "cuda" else "fork"


def expect_loaders(device: torch.device) -> None:
    """Let the server of loader processes import what they need, while this process
    goes on.
    """
    if start_method(device) == "forkserver":
        fork_server.forks("pipeline.training.loader")


def _starting(device: torch.device) -> tuple[BaseContext, Callable[[int], None]]:
    if start_method(device) == "fork":
        return multiprocessing.get_context("fork"), _outlive_notices
    context = fork_server.forks("pipeline.training.loader")
    return context, partial(_begin, dict(os.environ))


def _begin(variables: Mapping[str, str], worker: int) -> None:
    fork_server.begin(variables)
    _outlive_notices(worker)


def _together(patches: list[Encoded]) -> Encoded:
    content, *parts = zip(*patches, strict=True)
    return Encoded(torch.cat(content), *map(torch.stack, parts))


def _end_workers(batches: object) -> None:
    """End a loader's processes now.

    The method is private to torch (tried with 2.14). Without it the processes end with
    the iterator, once nothing refers to the iterator any more.
    """
    if (end := getattr(batches, "_shutdown_workers", None)) is not None:
        end()


def _outlive_notices(worker: int) -> None:
    """Ignore notices of the end: the rank saves first, then ends its workers.

    A notice may go to a whole group of processes.
    """
    ignore_notices()
