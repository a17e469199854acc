"""The engine makes a classifier fast on its device; only the last bits may change.

What the engine does, and why:
- All batches have one fixed shape, so that a crop's bits depend on no other crop. Their
  size is the fastest.
- Tensors are channels last. In bf16 the weights of convolutions and linear layers are
  converted once, not at every call.
- A small operator (`operators.py`) computes max pools and GoogLeNet's local response
  norms. In bf16 the first convolution reads a fourth channel of zeros, because three
  channels have no fast kernel.
- Pixels are normalised once per scaled image. Crops are views of the scaled image;
  mirrored crops are views of its mirror image.
- torch.compile runs on request, with its kernels cached on disk.
"""

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import InputError, first_line
from pipeline.models import operators
from pipeline.models.compiling import compile_step
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet, normalise
from pipeline.paper.layers import ConvReLU

# ours: on a CPU the activations of 12 crops stay in the cache (8 to 12 are fastest, 24
# a third slower); both divide 144. The figure for a GPU is a guess, never measured.
BATCH_SIZE = {"cpu": 12, "cuda": 288}
# process_group.py sets tf32
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.batch_size = BATCH_SIZE[device.type]
        self.network = _ready(classifier.network, device, precision)
        has_operators = any(
            isinstance(module, operators.OperatorPool) for module in self.network.modules()
        )
        # the last bits depend on this, so every result notes it
        self.description = (
            f"{device.type}, batches of {self.batch_size}{', operators' if has_operators else ''}"
        )
        first = _first_conv(self.network)
        self.channels = 3 if first is None else first.conv.in_channels
        self.preprocessing = classifier.preprocessing
        self._step = compile_step(self._softmax, device) if compiled else self._softmax

    @torch.no_grad()
    def refuse_wrong_outputs(self, num_classes: int, name: str) -> None:
        """Try one batch of zeros.

        Raises:
            InputError: the network called `name` fails, or does not give logits of N x
                num_classes.
        """
        shape = (self.batch_size, self.channels, self.input_size, self.input_size)
        try:
            with autocast(self.device, self.precision):
                output = self.network(torch.zeros(shape, dtype=self.dtype, device=self.device))
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

    def normalised(self, pixels_HWC: np.ndarray) -> Tensor:
        """Return RGB bytes (height x width x 3) as network input.

        The input is height x width x 3, or x 4 where the fourth channel is used.
        """
        pixels = torch.from_numpy(pixels_HWC).to(self.device)
        values = normalise(pixels[None], self.preprocessing)[0].permute(1, 2, 0).to(self.dtype)
        return F.pad(values, (0, self.channels - 3))

    def batches(self, crops_SSC: Iterable[Tensor]) -> Iterator[tuple[Tensor, int]]:
        """Yield normalised crops as batches, and how many crops of each batch are new.

        Batches are N x side x side x channels. All are one buffer, so the last batch
        may end with crops of the batch before it.
        """
        side = self.input_size
        batch = torch.zeros(
            self.batch_size, side, side, self.channels, dtype=self.dtype, device=self.device
        )
        filled = 0
        for crop in crops_SSC:
            batch[filled] = crop
            filled += 1
            if filled == self.batch_size:
                yield batch, filled
                filled = 0
        if filled:
            yield batch, filled

    @torch.no_grad()
    def probabilities(self, batch_NHWC: Tensor) -> Tensor:
        """Return the softmax probabilities of a batch: N x classes, float32."""
        return self._step(batch_NHWC)

    def classify(self, crops_SSC: Iterable[Tensor]) -> Iterator[np.ndarray]:
        """Yield the softmax probabilities of normalised crops in order, batch by batch.

        A batch is N x classes, float32. It is read back after the next has started, so
        that a GPU need not wait.
        """
        started: list[tuple[Tensor, int]] = []
        for batch, count in self.batches(crops_SSC):
            started.append((self.probabilities(batch), count))
            if len(started) > 1:
                yield _rows(*started.pop(0))
        for probabilities, count in started:
            yield _rows(probabilities, count)

    @torch.no_grad()
    def dense(self, planes_HWC: Iterable[Tensor]) -> np.ndarray:
        """Return the probabilities (classes, float32) of VGG's dense evaluation.

        They are the mean over planes of the mean over all places of a plane.

        Raises:
            InputError: the network is not GoogLeNet with average pooling.
        """
        network = self.network
        if (
            not isinstance(network, GoogLeNet)
            or not network.is_dense
            or network.input_size != self.input_size
        ):
            raise InputError(
                "policy dense: needs a GoogLeNet with average pooling, made for"
                f" {self.input_size} px"
            )
        total = []
        for plane in planes_HWC:
            with autocast(self.device, self.precision):
                logits = network.dense(plane[None].permute(0, 3, 1, 2))
            total.append(logits.float().softmax(dim=1).double().mean(dim=(0, 2, 3)))
        return torch.stack(total).mean(dim=0).float().cpu().numpy()

    def _softmax(self, batch_NHWC: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            logits: Tensor = self.network(batch_NHWC.permute(0, 3, 1, 2))
        return logits.float().softmax(dim=1)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a network runs at a precision."""
    dtype = HALVES.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _rows(probabilities: Tensor, count: int) -> np.ndarray:
    rows: np.ndarray = probabilities[:count].cpu().numpy()
    return rows


def _ready(network: nn.Module, device: torch.device, precision: str) -> nn.Module:
    """Return a copy of the network on the device, in evaluation mode, made fast."""
    network = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).eval()
    operators.use_operators(network, device)
    if precision == "bf16":
        if (first := _first_conv(network)) is not None:
            first.conv = _with_fourth_channel(first.conv)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)
    return network


def _with_fourth_channel(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution for inputs with a fourth channel, which has no effect."""
    wide = copy.deepcopy(conv)
    wide.in_channels = 4
    weight = F.pad(conv.weight.data, (0, 0, 0, 0, 0, 1))
    wide.weight = nn.Parameter(
        weight.contiguous(memory_format=torch.channels_last), requires_grad=False
    )
    return wide


def _first_conv(network: nn.Module) -> ConvReLU | None:
    """Return GoogLeNet's first layer; None where it is separable."""
    return (
        network.conv1
        if isinstance(network, GoogLeNet) and isinstance(network.conv1, ConvReLU)
        else None
    )
