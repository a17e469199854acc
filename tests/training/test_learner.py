"""What a step does beside its arithmetic: it waits for nothing, and repeats nothing."""

import json
import socket
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.configs.optimizer import LocalSGDConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, present
from pipeline.paper.averaging import Update, equal, exponential
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import LocalResponseNorm
from pipeline.runtime import process_group
from pipeline.training import learner as learning
from pipeline.training import metrics_log, optimizer
from pipeline.training.average import Average
from pipeline.training.cadence import Step
from pipeline.training.flat import FlatSGD, parts
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch
from pipeline.training.parts import parts_of
from pipeline.training.snapshot import snapshot
from tests.forks import fork

ATEN = torch.ops.aten
STAND_IN = torch.device("meta")  # it computes shapes alone, so that nothing can be read back


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a stand-in device, and gives it zeros.

    These are reading a number, and each copy to or from it that is not `non_blocking`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

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
    """All that a step may do: parts, clipping, distortions, batch norm, an average."""
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


def drawn(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (8, 42, 42, 3), dtype=torch.uint8, generator=generator)
    return Batch(pixels, torch.arange(8) % 3, torch.empty(8, 0))


def bits(learner: Learner) -> list[bytes]:
    parts = (learner.network.state_dict(), learner.average.state_dict())
    return [each.numpy().tobytes() for part in parts for each in part.values()]


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
    "wait",
    [lambda x: x.item(), lambda x: x.cpu(), lambda x: x.isfinite().all() or None, Tensor.tolist],
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


def count_messages(config: TrainConfig, path: Path) -> None:
    learner = Learner(config, 3, process_group.join())
    for number in range(1, 4):
        with Messages() as messages:
            learner.step(Step(number, 0.02), drawn(0))
    path.write_text(json.dumps(messages.names))
    process_group.leave()


class Messages(TorchDispatchMode):
    """Lists what is sent to the other ranks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names += [func.name()] if func.namespace == "c10d" else []
        return func(*args, **(kwargs or {}))


def test_a_step_sends_its_gradient_alone(run_config: TrainConfig, tmp_path: Path) -> None:
    """The losses travel with it, and constants stay at home."""
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    process = fork(count_messages, run_config, tmp_path / "names", **ranks, **where)
    process.join(120)
    assert json.loads((tmp_path / "names").read_text()) == ["c10d::allreduce_"]


@pytest.mark.parametrize("update", [equal(), exponential(0.9)])
@pytest.mark.parametrize("norm", ["lrn", "batch"])
def test_the_average_is_torchs(update: Update, norm: Any) -> None:
    """To the bit, also after it was loaded."""
    torch.manual_seed(0)
    network = GoogLeNet(3, 42, 0.125, norm=norm)
    ours, torchs = Average(network, update), AveragedModel(network, multi_avg_fn=update)
    for _ in range(4):
        with torch.no_grad():
            for tensor in (*network.parameters(), *network.buffers()):
                tensor.copy_(torch.randn(tensor.shape) * 9)
        loaded = Average(network, update)
        loaded.load_state_dict(ours.state_dict())
        ours = loaded
        ours.move()
        torchs.update_parameters(network)
        mine, theirs = ours.state_dict(), torchs.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(map(torch.equal, mine.values(), theirs.values()))


@pytest.mark.parametrize("form", ["gradient", "velocity"])
@pytest.mark.parametrize("most", [None, 4])
def test_flat_weights_have_the_bits_of_single_ones(
    form: Any, most: int | None, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each resumes from the other's state, as a checkpoint has it."""
    config = run_config.but(clip_norm=0.1, momentum_form=form, max_device_batch_size=most)
    accelerator = process_group.join()
    flat = Learner(config, 3, accelerator)
    monkeypatch.setattr(optimizer, "_may_be_flat", lambda *_: False)
    single = Learner(config, 3, accelerator)
    kinds = (FlatSGD, torch.optim.SGD)
    assert (type(flat.optimizer), type(single.optimizer)) == kinds
    fresh = flat.optimizer.state_dict()
    assert fresh == single.optimizer.state_dict()

    def momenta(learner: Learner) -> list[bytes]:
        state = learner.optimizer.state_dict()["state"]
        assert list(state) == list(range(len(learner._weights)))
        return [each["momentum_buffer"].numpy().tobytes() for each in state.values()]

    for numbers in (range(1, 4), range(4, 6), range(6, 8)):
        for learner in (flat, single):
            for number in numbers:
                learner.step(Step(number, 0.1), drawn(number))
        assert bits(flat) == bits(single)
        assert momenta(flat) == momenta(single)
        to, state = (single, flat.state()) if numbers.start == 1 else (flat, single.state())
        to.load(snapshot(state, torch.device("cpu"))[0])
    assert all(weight.is_set_to(part) for weight, part in lying(flat))


def lying(learner: Learner) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the weights and gradients of a learner, and their parts of flat tensors."""
    for home, group in zip(
        learner._moved,
        [part.weights for part in parts_of(learner.config, learner.network)],
        strict=True,
    ):
        yield from zip(group, parts(home.detach(), group), strict=True)
        gradients = [present(weight.grad, "a gradient") for weight in group]
        yield from zip(gradients, parts(present(home.grad, "it"), group), strict=True)


@pytest.mark.parametrize("fused", [False, True])
def test_fp16_leaves_out_steps_that_overflow(
    run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, one_thread: None, fused: bool
) -> None:
    """Also the first one; the scale is a part of the state. On a GPU SGD is fused."""
    kernels = {"fused": fused, "foreach": not fused}
    monkeypatch.setattr(optimizer, "kernels", lambda *_: kernels)
    monkeypatch.setattr(learning, "kernels", lambda *_: kernels)
    config = run_config.but(precision="fp16")
    learner, resumed = (Learner(config, 3, process_group.join()) for _ in range(2))
    before = bits(learner)[0]
    learner._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    learner.step(Step(1, 0.1), drawn(0))
    assert bits(learner)[0] == before
    assert learner._scaler.get_scale() == 2.0**39
    learner._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    learner.step(Step(2, 0.1), drawn(0))
    assert bits(learner)[0] != before
    resumed.load(snapshot(learner.state(), torch.device("cpu"))[0])
    for each in (learner, resumed):
        for number in range(3, 6):
            losses = each.step(Step(number, 0.02), drawn(number))
            assert losses.isfinite().all()
    assert bits(learner) == bits(resumed)
    assert learner._scaler.state_dict() == resumed._scaler.state_dict()


def test_fp16_squares_no_large_number() -> None:
    x = torch.full((1, 8, 2, 2), 1000.0)
    norm = LocalResponseNorm(8)
    assert torch.allclose(norm(x.half()).float(), norm(x), rtol=1e-3)


def test_a_precision_that_cannot_be_is_refused(run_config: TrainConfig) -> None:
    for precision in ("fp16", "tf32"):
        with pytest.raises(InputError, match=rf"^precision {precision}: needs a CUDA GPU"):
            process_group.join("fp32", precision)
    with pytest.raises(ValueError, match="precision fp16: not with local_sgd"):
        run_config.but(precision="fp16", local_sgd=LocalSGDConfig(workers=2, steps=2))
