"""What a step does beside its arithmetic: it waits for nothing, and repeats nothing."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.configs.train import TrainConfig
from pipeline.training import learner as learning
from pipeline.training import metrics_log
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch
from pipeline.training.snapshot import snapshot

ATEN = torch.ops.aten
STAND_IN = torch.device("meta")  # it computes shapes alone, so that nothing can be read back


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a stand-in device, and gives it zeros.

    These are reading a number, and each copy to or from it that is not `non_blocking`.
    """

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, tensors = kwargs or {}, [each for each in args if isinstance(each, Tensor)]
        if func is ATEN._local_scalar_dense.default and tensors[0].is_meta:
            self.count += 1
            return 0.0
        if func is ATEN._to_copy.default and "device" in kwargs:
            return self._copy(func, args, kwargs, torch.device(kwargs["device"]))
        if func is ATEN.copy_.default and len(tensors) == 2:
            self.count += len({each.device for each in tensors}) > 1 and True not in args[2:]
            return args[0] if tensors[1].is_meta else func(*args, **kwargs)
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: Any, target: torch.device) -> Tensor:
        source: Tensor = args[0]
        if source.device.type == target.type:
            return cast(Tensor, func(*args, **kwargs))
        self.count += not kwargs.get("non_blocking")
        return torch.zeros(source.shape, dtype=source.dtype, device=target)


class OneRank:
    """What a learner asks of accelerate, with a device in whose place meta stands."""

    device, num_processes, process_index = STAND_IN, 1, 0
    distributed_type = DistributedType.NO

    def prepare(self, model: torch.nn.Module) -> torch.nn.Module:
        return model

    def no_sync(self, model: torch.nn.Module) -> Any:
        return nullcontext()


@pytest.fixture
def learner(run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> Learner:
    """Everything that a step may do: parts, clipping, distortions, batch norm, average."""
    monkeypatch.setattr(learning, "autocast", lambda *_: nullcontext())
    config = run_config.but(
        network=run_config.network.but(norm="batch"),
        clip_norm=1.0,
        max_device_batch_size=2,
        momentum_form="velocity",
    )
    return Learner(config, 3, cast(Accelerator, OneRank()))


@pytest.fixture
def batch() -> Batch:
    pixels = torch.zeros(4, 42, 42, 3, dtype=torch.uint8)
    return Batch(pixels, torch.zeros(4, dtype=torch.long), torch.zeros(4, 9))


def waits_of(learner: Learner, batch: Batch, steps: range) -> Iterator[int]:
    for number in steps:
        with Waits() as waits:
            learner.step(Step(number, 0.1), batch)
        yield waits.count


def test_a_step_waits_for_nothing(learner: Learner, batch: Batch) -> None:
    """Neither does the copy of its state. The end of a window waits once."""
    next(waits_of(learner, batch, range(1, 2)))  # copies constants of the pixels, once
    with Waits() as waits:
        losses = [learner.step(Step(number, 0.1), batch) for number in range(2, 5)]
        snapshot(learner.state(), STAND_IN)
    assert waits.count == 0
    with Waits() as waits:
        assert metrics_log._by_step(losses) == [[0.0] * 3] * 3
    assert waits.count == 1


@pytest.mark.parametrize(
    "wait", [lambda x: x.item(), lambda x: x.cpu(), lambda x: x.isfinite().all() or None, Tensor.tolist]
)
def test_a_wait_is_counted(
    learner: Learner, batch: Batch, monkeypatch: pytest.MonkeyPatch, wait: Any
) -> None:
    """So the test above fails where a step has one."""
    gradient = learner._gradient

    def waiting(batch: Batch) -> Tensor:
        losses = gradient(batch)
        wait(losses[0])
        return losses

    monkeypatch.setattr(learner, "_gradient", waiting)
    _, second = waits_of(learner, batch, range(1, 3))
    assert second == 1
