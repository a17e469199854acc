"""The C operator computes what torch's max pool and local response norm compute."""

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models import operators, pool
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.runtime import native

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


shapes = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(2, 12), st.integers(2, 12))


def reference(x: Tensor, stride: int, norm: str) -> Tensor:
    """In float64, with torch's own layers."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True) if stride == 2 else nn.MaxPool2d(3, 1, padding=1)
    lrn = nn.LocalResponseNorm(5, alpha=1e-2, beta=0.75, k=1.0)
    x = lrn(x.double()) if norm == "first" else x.double()
    y: Tensor = pool(x)
    return lrn(y) if norm == "last" else y


@settings(deadline=None)
@given(shapes, st.sampled_from([1, 2]), st.sampled_from(sorted(pool.NORMS)), st.integers(0, 2**31))
def test_equals_torch(shape: tuple[int, int, int, int], stride: int, norm: str, seed: int) -> None:
    x = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found = pool.max_pool(x, stride, norm, 1e-2)
    torch.testing.assert_close(found.double(), reference(x, stride, norm), rtol=1e-6, atol=1e-6)
    half = x.to(torch.bfloat16)
    found = pool.max_pool(half, stride, norm, 1e-2)
    # one rounding to 8 bits, two where the norm comes before the maximum of equal
    # neighbours
    torch.testing.assert_close(found.double(), reference(half, stride, norm), rtol=2**-8, atol=1e-6)
    if norm == "none":
        assert torch.equal(found.double(), reference(half, stride, norm))


@settings(deadline=None)
@given(
    shapes,
    st.sampled_from([1, 2]),
    st.sampled_from(sorted(pool.NORMS)),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_gradient_equals_torch(
    shape: tuple[int, int, int, int], stride: int, norm: str, with_ties: bool, seed: int
) -> None:
    """Also where largest values tie, as zeros behind a ReLU do: the first takes the
    gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    x = 5 * torch.randn(shape, generator=generator)
    x = (x.round().clamp(min=0) if with_ties else x).requires_grad_()
    dy = torch.randn(reference(x, stride, norm).shape, generator=generator)
    (expected,) = torch.autograd.grad(reference(x, stride, norm), x, dy.double())
    # there rounding decides which of two equal neighbours is larger
    if not (with_ties and norm == "first"):
        (found,) = torch.autograd.grad(pool.max_pool(x, stride, norm, 1e-2), x, dy)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        half = x.detach().to(torch.bfloat16).requires_grad_()
        (found,) = torch.autograd.grad(
            pool.max_pool(half, stride, norm, 1e-2), half, dy.to(torch.bfloat16)
        )
        assert found.dtype == torch.bfloat16
        assert found.float().isfinite().all()


@pytest.mark.parametrize("bits", [0x7FC0, 0xFFC0, 0xFFFF, 0x7F81])
def test_not_a_number_is_not_lost(bits: int) -> None:
    """Of either sign: x86 gives negative ones for inf - inf."""
    nan = torch.tensor([bits], dtype=torch.uint16).view(torch.bfloat16)
    for dtype in pool.TYPES:
        x = torch.full((1, 3, 6, 6), torch.inf, dtype=dtype)
        x[0, 1, 3, 3] = nan.to(dtype)[0]
        assert pool.max_pool(x, 1, "none", 0.0)[0, 1, 2:5, 2:5].isnan().all()
        x[x == torch.inf] = 0
        assert pool.max_pool(x, 2, "last", 1e-4).isnan().any()
        y = pool.max_pool(x.requires_grad_(), 2, "none", 0.0)
        (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
        assert dx[0, 1, 3, 3] == 1


def test_it_stands_in_for_the_networks_layers() -> None:
    network = GoogLeNet(5, input_size=64, width=0.25, aux_heads=()).eval()
    x = 10 * torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)
        assert operators.use_operators(network, CPU)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(
            network.double()(x.double()).float(), expected, rtol=1e-5, atol=1e-6
        )
    norms = [
        module.norm for module in network.modules() if isinstance(module, operators.OperatorPool)
    ]
    assert sorted(norms) == ["first", "last"] + ["none"] * 11


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", pool.TYPES)
def test_a_small_pool_has_the_same_values_and_in_float32_the_same_gradient(
    stride: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's gradient is rounded at each window in bfloat16, ours once."""
    layer = nn.MaxPool2d(3, 2, ceil_mode=True) if stride == 2 else nn.MaxPool2d(3, 1, padding=1)
    ours = operators.OperatorPool(layer, stride)
    x = torch.randn(4, 16, 7, 6).relu().to(dtype).requires_grad_()
    small = ours(x)
    dy = torch.randn_like(small)
    monkeypatch.setattr(operators, "SMALL", {})
    large = ours(x)
    assert ["_Pool" in str(y.grad_fn) for y in (small, large)] == [False, True]
    assert torch.equal(small, large)
    gradients = [torch.autograd.grad(y, x, dy)[0] for y in (small, large)]
    if dtype == torch.float32:
        assert torch.equal(*gradients)
    else:
        torch.testing.assert_close(*gradients, rtol=2**-6, atol=2**-6)


class PaddedPool(nn.MaxPool2d):
    """Not what its base class is."""

    def forward(self, x: Tensor) -> Tensor:
        padded: Tensor = super().forward(F.pad(x, (1, 1, 1, 1)))
        return padded


def test_it_leaves_alone_what_it_does_not_know() -> None:
    hooked = nn.MaxPool2d(3, 1, 1)
    hooked.register_forward_hook(lambda module, inputs, output: output + 1)
    strange = [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(3, 1, 1, dilation=2),
        PaddedPool(3, 1, 1),
        hooked,
    ]
    network = nn.Sequential(*strange, nn.MaxPool2d(3, 2, ceil_mode=True))
    assert operators.use_operators(network, CPU)
    assert list(network[:5]) == strange
    known = network[5]
    assert isinstance(known, operators.OperatorPool)
    single, doubled = torch.randn(4, 6, 6), torch.randn(1, 4, 6, 6, dtype=torch.float64)
    for x in (single, doubled):
        assert torch.equal(known(x), known.original(x))
    with pytest.raises(RuntimeError):
        known(torch.randn(1, 4, 1, 1))  # as torch does


@pytest.mark.processes
def test_without_a_working_compiler_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cache = tmp_path / "going-deeper"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reasons = {
        "no-such-compiler": "no C++ compiler (no-such-compiler) on the PATH",
        "false": "false cannot build operators.cpp: no message",
        "g++ --no-such-flag": "g++ --no-such-flag cannot build operators.cpp: .*unrecognized",
    }
    for compiler, reason in reasons.items():
        monkeypatch.setenv("CXX", compiler)
        native.library.cache_clear()
        assert re.match(
            reason.replace("(", r"\(").replace(")", r"\)").replace("+", r"\+"),
            str(pool.library()),
        )
        engine = Engine(
            Classifier(GoogLeNet(5, input_size=64, width=0.25), PREPROCESSING, 64),
            torch.device("cpu"),
        )
        assert engine.description == "cpu, batches of 144, packed"
        assert isinstance(engine.network.pool1, nn.MaxPool2d)
    monkeypatch.delenv("CXX")
    native.library.cache_clear()
    assert not isinstance(pool.library(), str)
    assert cache.stat().st_mode & 0o777 == 0o700
    (built,) = cache.glob("*.so")
    for damage in (b"", built.read_bytes()[:1000]):
        native.library.cache_clear()
        built.unlink()
        built.write_bytes(damage)
        assert not isinstance(pool.library(), str)
    cache.chmod(0o777)
    native.library.cache_clear()
    assert "others can write to it" in str(pool.library())
    monkeypatch.setenv("XDG_CACHE_HOME", str(built))
    native.library.cache_clear()
    assert "cannot hold what is compiled here" in str(pool.library())
    native.library.cache_clear()


# of torch's own checker
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_torch_may_compile_through_it() -> None:
    for norm in pool.NORMS:
        x = torch.randn(1, 4, 6, 6, requires_grad=True)
        torch.library.opcheck(pool.pool, (x.detach(), 2, norm, 1e-4))
        torch.library.opcheck(pool.pool_with_places, (x, 2, norm, 1e-4))
        y = pool.max_pool(x, 2, norm, 1e-4)
        registered, _, _ = pool.pool_with_places(x, 2, norm, 1e-4)
        assert torch.equal(registered, y)
        assert torch.equal(*(torch.autograd.grad(each.sum(), x)[0] for each in (registered, y)))
