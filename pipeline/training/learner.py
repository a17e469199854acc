"""The learner: what training changes, and how one step changes it."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from importlib import import_module
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.local_sgd import LocalSGD
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.configs.train import TrainConfig
from pipeline.errors import present
from pipeline.images.distortions import distort_batch
from pipeline.models.compiling import enable_compiling
from pipeline.models.fast_network import autocast
from pipeline.models.making import as_logits, network_of, refuse_wrong_outputs
from pipeline.models.operators import use_operators
from pipeline.paper.augmentation import stream
from pipeline.paper.averaging import equal, exponential
from pipeline.paper.googlenet import GoogLeNet, normalise, output_losses, training_loss
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.training.average import Average, saved_buffers
from pipeline.training.cadence import Step
from pipeline.training.flat import FlatSGD
from pipeline.training.loader import Batch
from pipeline.training.optimizer import clip, kernels, moved_by, optimizer
from pipeline.training.parts import freeze, parts_of
from pipeline.training.with_losses import WithLosses

# Every optimiser imports this module. A fork server that imports it here saves its
# forks the time. It is private to torch (tried with 2.14); without it the first step
# takes longer.
with suppress(ImportError):
    import_module("torch._dynamo")


class Learner:
    """The weights, their average, and the optimiser's momentum.

    They are the same on all ranks after every step that settles. No step waits for the
    device: the host may be several steps ahead. (timm's LARS in fp16 does wait, as the
    scaler must then read on the host whether a gradient is infinite.)
    """

    def __init__(self, config: TrainConfig, num_classes: int, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        self._preprocessing = config.pixels.preprocessing
        self.num_classes = num_classes
        network = network_of(config.network, num_classes, config.init_seed)
        freeze(network, config.frozen)
        if isinstance(network, GoogLeNet):
            INITIALISATIONS[config.init](network, torch.Generator().manual_seed(config.init_seed))
        else:
            share = config.global_batch_size // accelerator.num_processes
            # batch norm of 1 x 1 maps fails on one image
            parts = math.ceil(share / (config.max_device_batch_size or share))
            num_images = min(share // parts, 2)
            refuse_wrong_outputs(network, config.network, num_classes, config.outputs, num_images)
        self.beginning = ""  # in words, where a file has the weights
        if config.begin is not None:
            # late: few trainings need it
            from pipeline.models.beginning import begin_with

            self.beginning = begin_with(network, config, config.begin, num_classes)
        self.network = network.to(accelerator.device).to(memory_format=torch.channels_last)
        self.has_operators = use_operators(self.network, accelerator.device)
        decay = config.averaging_decay**config.settles_every
        update = equal() if config.averaging == "equal" else exponential(decay)
        self.average = Average(self.network, update)
        self._weights = list(self.network.parameters())
        is_alone = accelerator.distributed_type == DistributedType.NO
        self._parts = parts_of(config, self.network)
        self.optimizer = optimizer(config, self._parts, accelerator.device, is_alone)
        self._moved = moved_by(self.optimizer)
        if isinstance(self.optimizer, FlatSGD):
            groups = [part.weights for part in parts_of(config, self.average.module)]
            self.average.lie_flat(self._moved, groups)
        self._scaler = torch.amp.GradScaler(
            accelerator.device.type, enabled=config.precision == "fp16"
        )
        self._generator = _generator(accelerator.device)
        self._statistics = [
            name
            for name in saved_buffers(self.network)
            if self.network.get_buffer(name).is_floating_point()
        ]
        self._model = self._shared(WithLosses(self.network, len(config.outputs)))
        self._local = LocalSGD(
            accelerator, self._model, config.settles_every, enabled=config.local_sgd is not None
        )
        self._unshared: list[Tensor] = []
        self._apart = ExitStack()
        self._apart.enter_context(self._local)
        self._forward: Callable[..., Any] = self._model
        if config.compiled:
            enable_compiling(accelerator.device)
            self._forward = torch.compile(self._model, dynamic=False)

    def state(self) -> dict[str, Any]:
        """Return the state to save."""
        return {name: part.state_dict() for name, part in self._states().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Load a saved state."""
        for name, part in self._states().items():
            part.load_state_dict(state[name])
        for group in self.optimizer.param_groups:  # the state may be of another device
            group.update(kernels(self.config, self.accelerator.device))

    def step(self, step: Step, batch: Batch) -> Tensor:
        """Take one optimiser step on this rank's share of the batch.

        Return the losses by output (1 + heads), the mean over the ranks. (Those of
        local SGD become that mean at the next step that shares them.)
        """
        inside = step.rate if self.config.momentum_form == "velocity" else None
        self._set_rate(step.rate, inside)
        rank = self.accelerator.process_index
        self._generator.manual_seed(
            stream("dropout", self.config.data_seed, step.number, rank).getrandbits(63)
        )
        losses = self._gradient(batch)
        self._scaler.unscale_(self.optimizer)
        if self.config.clip_norm is not None:
            clip(self._weights, self._moved, self.config.clip_norm)
        if inside is not None:
            for moved in self._moved:
                present(moved.grad, "a gradient").mul_(inside)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        if step.settles:
            self._settle()
            self._agree_on_buffers()
            if step.averages:
                self.average.move()
        if self._local.enabled:
            self._share_losses(losses, step.shares)
        return losses

    def apart(self) -> AbstractContextManager[None]:
        """Within it the ranks do not sum their gradients, so that a step can be timed
        without the sum.
        """
        without_sum: AbstractContextManager[None] = self.accelerator.no_sync(self._model)
        return without_sum

    def _set_rate(self, rate: float, inside: float | None) -> None:
        """Set the rates of weights and of biases for one step.

        torch multiplies the momentum by the rate of the day, while Caffe's velocity has
        each step's rate `inside`: the same as a rate of 1 where gradients and decay are
        multiplied by it.
        """
        for group, part in zip(self.optimizer.param_groups, self._parts, strict=True):
            group["lr"] = part.rate * (rate if inside is None else 1.0)
            decay = part.decay * self.config.weight_decay
            group["weight_decay"] = decay * (1.0 if inside is None else inside)

    def _gradient(self, batch: Batch) -> Tensor:
        """Compute the gradient of the rank's share, and return its mean losses.

        The share is split into equal parts of at most `max_device_batch_size` images.
        """
        share = len(batch.labels_N)
        num_parts = math.ceil(share / (self.config.max_device_batch_size or share))
        carrier = self._carrier.losses
        carrier.grad = None
        for number, part in enumerate(
            zip(*(tensor.tensor_split(num_parts) for tensor in batch), strict=True), start=1
        ):
            pixels, labels, distortions = (
                tensor.to(self.accelerator.device, non_blocking=True) for tensor in part
            )
            if distortions.shape[1]:
                pixels = distort_batch(pixels, distortions)
            sums_gradients = number == num_parts
            waits: AbstractContextManager[None] = (
                nullcontext() if sums_gradients else self.accelerator.no_sync(self._model)
            )
            with waits:
                with autocast(self.accelerator.device, self.config.precision):
                    outputs = as_logits(self._forward(normalise(pixels, self._preprocessing)))
                losses = output_losses(outputs, labels, self.config.label_smoothing) * (
                    len(labels) / share
                )
                loss = self._scaler.scale(training_loss(losses, self.config.aux_weight))
                torch.autograd.backward((loss, carrier), (None, losses.detach()))
        # a copy: the gradient may be a view of memory that the next step overwrites
        return present(carrier.grad, "the losses").clone()

    def _settle(self) -> None:
        """Average weights and momentum over the ranks of local SGD.

        To average momentum too is `ours`: a checkpoint holds only one momentum.
        """
        if not self._local.enabled:
            return
        self._apart.close()  # averages the weights
        for state in self.optimizer.state.values():
            state["momentum_buffer"] = self.accelerator.reduce(state["momentum_buffer"], "mean")
        self._apart.enter_context(self._local)

    def _share_losses(self, losses: Tensor, now: bool) -> None:
        """Make the losses of local SGD, in place, the mean over its ranks.

        They did not travel with a gradient; those of several steps go together.
        """
        self._unshared.append(losses)
        if now:
            means = self.accelerator.reduce(torch.stack(self._unshared), "mean")
            for own, mean in zip(self._unshared, means, strict=True):
                own.copy_(mean)
            self._unshared.clear()

    def _agree_on_buffers(self) -> None:
        """Give all ranks the mean of their running statistics of batch norm."""
        if self.accelerator.num_processes > 1:
            for name in self._statistics:
                buffer = self.network.get_buffer(name)
                buffer.copy_(self.accelerator.reduce(buffer, "mean"))

    def _shared(self, carrier: WithLosses) -> nn.Module:
        """Return the model that shares its gradients with the other ranks."""
        self._carrier = carrier
        self.accelerator.ddp_handler = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        model: nn.Module = self.accelerator.prepare(carrier)
        if isinstance(model, DistributedDataParallel) and not self._statistics:
            model.broadcast_buffers = False  # else each step sends constants
        return model

    def _states(self) -> dict[str, Any]:
        states = {"network": self.network, "average": self.average, "optimizer": self.optimizer}
        return states | ({"scaler": self._scaler} if self._scaler.is_enabled() else {})


def _generator(device: torch.device) -> torch.Generator:
    """Return the generator of dropout, as `torch.manual_seed` seeds it.

    That function seeds every other device too, which takes 0.1 ms.
    """
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
