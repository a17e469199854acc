"""The engine makes a classifier fast on its device; only the last bits may change.

What the engine does, and why:
- All batches have one fixed shape, so that a crop's bits depend on no other crop. Their
  size follows from the network's largest activation, and from no machine.
- Tensors are channels last. In bf16 the weights of convolutions and linear layers are
  converted once, not at every call.
- On a CPU, convolutions have packed weights and their ReLU (`packing.py`).
- A small operator (`operators.py`) computes max pools and GoogLeNet's local response
  norms. In bf16 the first convolution reads a fourth channel of zeros, because three
  channels have no fast kernel.
- Pixels are normalised once per scaled image, and crops are cut from it (`cutting.py`).
- A GPU never waits for a copy: bytes arrive on a stream of their own, and results leave
  some batches later.
- torch.compile runs on request, with its kernels cached on disk.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import InputError, first_line
from pipeline.models import operators, packing
from pipeline.models.compiling import compile_step
from pipeline.models.cutting import Crops, Pixels
from pipeline.models.fast_network import autocast, fast_copy, fastest_batch
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.policies import DENSE, RESNET_DENSE

# ours: batches that are started before the oldest is read back
AHEAD = 3


class Engine:
    """Computes the probabilities of batches of crops.

    Args:
        classifier: the engine copies its network and never changes it.
        precision: `bf16` computes convolutions and linear layers in bfloat16 and the
            rest as autocast does.
        compiled: run the network through torch.compile.

    Raises:
        InputError: `compiled` without a C++ compiler.
    """

    def __init__(
        self,
        classifier: Classifier,
        device: torch.device,
        precision: str = "fp32",
        compiled: bool = False,
    ):
        self.device, self.input_size = device, classifier.input_size
        self.precision = precision
        self.network, channels = fast_copy(classifier.network, device, precision)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.pixels = Pixels(device, classifier.preprocessing, self.input_size, channels, dtype)
        image = self.pixels.batch(1).permute(0, 3, 1, 2)
        self.batch_size = fastest_batch(self.network, image, precision)
        # torch.compile packs by itself
        is_packed = not compiled and packing.pack(self.network, device, precision)
        # the last bits depend on this, so every result notes it
        self.description = ", ".join(
            (
                f"{device.type}, batches of {self.batch_size}",
                *(["packed"] if is_packed else []),
                *(["operators"] if operators.are_used(self.network) else []),
            )
        )
        self._step = compile_step(self._softmax, device) if compiled else self._softmax

    @torch.no_grad()
    def refuse_wrong_outputs(self, num_classes: int, name: str) -> None:
        """Try one batch of zeros.

        Raises:
            InputError: the network called `name` fails, or does not give logits of N x
                num_classes.
        """
        zeros = self.pixels.batch(self.batch_size).permute(0, 3, 1, 2)
        try:
            with autocast(self.device, self.precision):
                output = self.network(zeros)
        except Exception as error:
            raise InputError(
                f"{name}: fails on a batch of {self.batch_size} images: {first_line(error)}"
            ) from None
        expected = (self.batch_size, num_classes)
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            kind = (
                f"shape {tuple(output.shape)}"
                if isinstance(output, Tensor)
                else type(output).__name__
            )
            raise InputError(
                f"{name}: gives {kind}; expected {expected} for {self.batch_size} images,"
                f" {num_classes} classes"
            )

    def batches(self, images: Iterable[Crops]) -> Iterator[tuple[Tensor, int]]:
        """Yield the crops of images as batches, and how many crops of each are new.

        Batches are N x side x side x channels. All are one buffer, so the last batch
        may end with crops of the batch before it.
        """
        batch, filled = self.pixels.batch(self.batch_size), 0
        for crops in images:
            left = crops.count
            while left:
                count = min(left, self.batch_size - filled)
                crops.write(batch[filled : filled + count])
                left, filled = left - count, filled + count
                if filled == self.batch_size:
                    yield batch, filled
                    filled = 0
        if filled:
            yield batch, filled

    @torch.no_grad()
    def probabilities(self, batch_NHWC: Tensor) -> Tensor:
        """Return the softmax probabilities of a batch: N x classes, float32."""
        return self._step(batch_NHWC)

    def start(self, batch_NHWC: Tensor) -> Callable[[], np.ndarray]:
        """Start a batch, and return what waits for its probabilities."""
        rows = self.probabilities(batch_NHWC).to("cpu", non_blocking=True)
        if self.device.type != "cuda":
            return rows.numpy
        event = torch.cuda.Event()
        event.record()

        def read() -> np.ndarray:
            event.synchronize()
            return rows.numpy()

        return read

    @torch.no_grad()
    def refuse_fixed_size(self, name: str) -> None:
        """Try one image of another shape, for policy `resnet_dense`.

        Raises:
            InputError: the network called `name` takes one size alone, or pools its map
                to several places and not to one.
        """
        zeros = self.pixels.batch(1).repeat(1, 1, 2, 1).permute(0, 3, 1, 2)
        zeros = nn.functional.pad(zeros, (0, 1))  # a transformer may take whole patches alone
        pools = [m for m in self.network.modules() if isinstance(m, nn.AdaptiveAvgPool2d)]
        try:
            with autocast(self.device, self.precision):
                is_fixed = self.network(zeros).ndim != 2
        except Exception:
            is_fixed = True
        if is_fixed or any(pool.output_size not in (1, (1, 1)) for pool in pools):
            raise InputError(
                f"{name}: policy {RESNET_DENSE} needs a network that takes images of any size and"
                " pools all places of its last map into one; choose among the policies with crops"
            )

    @torch.no_grad()
    def on_whole_images(self, kind: str, planes_HWC: Iterable[Tensor]) -> np.ndarray:
        """Return probabilities (classes, float32) of whole images, the mean of planes.

        `dense` is the mean over the places of a plane too (VGG's dense evaluation). In
        `resnet_dense` the network itself pools the places. The paper averages "the
        scores" over scales, which are probabilities here (ours).

        Raises:
            InputError: `dense` is asked of another network than GoogLeNet with average
                pooling.
        """
        network = self.network
        function: Callable[[Tensor], Tensor] = network
        if kind == DENSE:
            if (
                not isinstance(network, GoogLeNet)
                or not network.is_dense
                or network.input_size != self.input_size
            ):
                raise InputError(
                    f"policy {DENSE}: needs a GoogLeNet with average pooling, made for"
                    f" {self.input_size} px"
                )
            function = network.dense
        total = []
        for plane in planes_HWC:
            with autocast(self.device, self.precision):
                logits: Tensor = function(plane[None].permute(0, 3, 1, 2))
            places = logits if kind == DENSE else logits[:, :, None, None]
            total.append(places.float().softmax(dim=1).double().mean(dim=(0, 2, 3)))
        return torch.stack(total).mean(dim=0).float().cpu().numpy()

    def _softmax(self, batch_NHWC: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            logits: Tensor = self.network(batch_NHWC.permute(0, 3, 1, 2))
        return logits.float().softmax(dim=1)


def classify_crops(engines: Sequence[Engine], images: Iterable[Crops]) -> Iterator[np.ndarray]:
    """Yield the softmax probabilities of crops in order, batch by batch.

    A batch is engines x N x classes, float32. All engines see the same pixels: those of
    the first. It is read back after others were started, so that a GPU need not wait.
    """
    started: deque[tuple[list[Callable[[], np.ndarray]], int]] = deque()

    def read() -> np.ndarray:
        readers, count = started.popleft()
        return np.stack([reader()[:count] for reader in readers])

    for batch, count in engines[0].batches(images):
        started.append(([engine.start(batch) for engine in engines], count))
        if len(started) > AHEAD:
            yield read()
    while started:
        yield read()
