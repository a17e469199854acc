"""The C operator computes what torch's max pool and local response norm compute."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.adapters import operators
from pipeline.paper.googlenet import GoogLeNet

shapes = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(2, 12), st.integers(2, 12))


def reference(x: Tensor, stride: int, norm: str) -> Tensor:
    """In float64, with torch's own layers."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True) if stride == 2 else nn.MaxPool2d(3, 1, padding=1)
    lrn = nn.LocalResponseNorm(5, alpha=1e-2, beta=0.75, k=1.0)
    x = lrn(x.double()) if norm == "first" else x.double()
    y: Tensor = pool(x)
    return lrn(y) if norm == "last" else y


@settings(deadline=None)
@given(shapes, st.sampled_from([1, 2]), st.sampled_from(sorted(operators.NORMS)), st.integers(0, 2**31))
def test_equals_torch(shape: tuple[int, int, int, int], stride: int, norm: str, seed: int) -> None:
    x = 30 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    found = operators.max_pool(x, stride, norm, 1e-2)
    torch.testing.assert_close(found.double(), reference(x, stride, norm), rtol=1e-6, atol=1e-6)
    half = x.to(torch.bfloat16)
    found = operators.max_pool(half, stride, norm, 1e-2)
    # one rounding to 8 bits, two where the norm comes before the maximum of equal neighbours
    torch.testing.assert_close(found.double(), reference(half, stride, norm), rtol=2**-8, atol=1e-6)
    if norm == "none":
        assert torch.equal(found.double(), reference(half, stride, norm))


def test_not_a_number_is_not_lost() -> None:
    for dtype in operators.SYMBOLS:
        x = torch.zeros(1, 3, 6, 6, dtype=dtype)
        x[0, 1, 3, 3] = torch.nan
        assert operators.max_pool(x, 1, "none", 0.0)[0, 1, 2:5, 2:5].isnan().all()
        assert operators.max_pool(x, 2, "last", 1e-4).isnan().any()


def test_it_stands_in_for_the_networks_layers() -> None:
    network = GoogLeNet(5, input_size=64, width=0.25, aux_heads=()).eval()
    x = 10 * torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(x)
        assert operators.use_operators(network)
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
    assert [module.norm for module in network.modules() if isinstance(module, operators.OperatorPool)].count("none") == 11
    assert not any(isinstance(module, nn.MaxPool2d) for module in network.modules())
    others = nn.Sequential(
        nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 1, 1, dilation=2), nn.MaxPool2d(3, 2, ceil_mode=True)
    )
    assert operators.use_operators(others)
    assert [type(module).__name__ for module in others] == ["MaxPool2d", "MaxPool2d", "MaxPool2d", "OperatorPool"]


def test_without_a_compiler_the_network_keeps_its_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for compiler in ("no-such-compiler", "false"):
        monkeypatch.setenv("CC", compiler)
        operators.library.cache_clear()
        network = GoogLeNet(5, input_size=64, width=0.25, aux_heads=())
        assert operators.use_operators(network) is False
        assert isinstance(network.pool1, nn.MaxPool2d)
    monkeypatch.delenv("CC")
    operators.library.cache_clear()
    assert operators.use_operators(GoogLeNet(5, input_size=64, width=0.25))
    assert (tmp_path / "going-deeper").stat().st_mode & 0o777 == 0o700
    assert [path.suffix for path in (tmp_path / "going-deeper").iterdir()] == [".so"]
    operators.library.cache_clear()


def test_torch_may_compile_through_it() -> None:
    torch.library.opcheck(operators.max_pool, (torch.randn(1, 4, 6, 6), 2, "last", 1e-4))
    assert (
        F.max_pool2d(torch.ones(1, 1, 4, 4), 3, 2, ceil_mode=True).shape
        == operators.max_pool(torch.ones(1, 1, 4, 4), 2, "none", 0.0).shape
    )
