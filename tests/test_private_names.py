"""What happens where another version of a library lacks a private name that we use."""

import multiprocessing.forkserver
from pathlib import Path

import pytest
import torch
import torch._dynamo.config
from torch import nn

from pipeline.errors import InputError
from pipeline.models import compiling
from pipeline.models.operators import _stride_of
from pipeline.paper.averaging import exponential
from pipeline.runtime import fork_server
from pipeline.tracking import workspace


def test_an_average_is_the_same_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [torch.randn(size, generator=torch.Generator().manual_seed(0)) for size in (5, 64)]
    at_once, one_by_one = ([torch.ones_like(w) for w in weights] for _ in range(2))
    exponential(0.99)(at_once, weights, 3)
    monkeypatch.delattr(torch, "_foreach_lerp_")
    exponential(0.99)(one_by_one, weights, 3)
    assert all(map(torch.equal, at_once, one_by_one))


def test_a_pool_that_may_have_hooks_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    assert _stride_of(pool) == 2
    monkeypatch.delattr(pool, "_forward_hooks")
    assert _stride_of(pool) is None


def test_a_server_without_an_id_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(multiprocessing.forkserver, "_forkserver")
    fork_server._end_server()


def test_a_missing_setting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        freezing = True

    monkeypatch.setattr(compiling, "import_module", lambda _: Older)
    with pytest.raises(InputError, match=r"lacks a setting: .*recompile_limit.*compiled = false"):
        compiling.compile_step(lambda batch: batch, torch.device("cuda"))


def test_another_wandb_workspaces_is_said() -> None:
    with pytest.raises(InputError, match=r"wandb-workspaces==0\.4\.13"):
        workspace._take_names(Path(), workspace.NEW)
