"""Whatever a file of weights holds: weights that fit, or one line that names it."""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models.loading import load_strictly
from pipeline.models.weights import read_weights

NETWORK = nn.Linear(2, 2)
T = torch.zeros(2, 2)
REST = {"bias": torch.zeros(2)}
WRONG: dict[str, tuple[Any, str]] = {
    "numbers": ({1: T, 2: T}, "is a list of tensors without names"),
    "numbers and names": ({1: T, "weight": T}, "is a list of tensors without names"),
    "nothing": ({None: T}, "is a list of tensors without names"),
    "bytes": ({b"weight": T}, "is a list of tensors without names"),
    "pairs": ({("weight", 1): T}, "is a list of tensors without names"),
    "tensors": ({T: T}, "is a list of tensors without names"),
    "in order": (OrderedDict([("weight", T), (3, T)]), "is a list of tensors without names"),
    "numbers below": ({"model": {1: T}}, "model is a list of tensors without names"),
    "one name twice": ({1: {"weight": T}, "1": {"weight": T}}, "holds 2 sets of weights"),
    "no values": ({"weight": torch.empty(2, 2, device="meta"), **REST}, "weight has no values"),
    "sparse": ({"weight": T.to_sparse(), **REST}, "weight is torch.sparse_coo"),
    "complex": ({"weight": T.to(torch.complex64), **REST}, "weight is of torch.complex64"),
    "whole numbers": ({"weight": T.to(torch.int8), **REST}, "weight is of torch.int8"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore")  # of torch, on kinds of tensors
def test_wrong_weights_are_one_line(case: str, tmp_path: Path) -> None:
    content, message = WRONG[case]
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(InputError) as refused:
        load_strictly(NETWORK, read_weights(path), path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("opening", "closing"), [(b"}X\1\0\0\0a", b"s"), (b"]", b"a")])
def test_a_file_of_dictionaries_within_each_other_is_one_line(
    opening: bytes, closing: bytes, tmp_path: Path
) -> None:
    """torch reads any depth, as a pickle is a list of steps."""
    path = tmp_path / "deep.pth"
    file = io.BytesIO()
    torch.save({"weight": T}, file, _use_new_zipfile_serialization=False)
    # the old form of a file: number, version, machine, content, keys
    head = io.BytesIO(file.getvalue())
    for _ in range(3):
        pickle.load(head)
    start = file.getvalue()[: head.tell()]
    deep = b"\x80\2" + opening * 20_000 + b"K\1" + closing * 20_000 + b"."
    path.write_bytes(start + deep + pickle.dumps([], 2))
    with pytest.raises(InputError, match=r"deep.pth: (holds no state dict|cannot be read)"):
        read_weights(path)
