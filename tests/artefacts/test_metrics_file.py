"""A log of metrics that a resume rewinds: whatever happened to one of its two files, it
is what the checkpoint knew.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artefacts.metrics_file import Mark, MetricsFile

pytestmark = pytest.mark.usefixtures("unsynced")
NUM_ROWS = 5


def logged(folder: Path) -> tuple[Mark, bytes]:
    """Write rows, a mark and a row after it; return the mark and the text then."""
    log = MetricsFile(folder / "log", folder / "checkpoints/log")
    for step in range(1, NUM_ROWS + 1):
        log.append({"step": step, "loss": 1 / step})
        if step == 2:
            log.mark()
    mark, text = log.mark(), log.path.read_bytes()
    log.append({"step": NUM_ROWS + 1, "loss": 0.0})
    return mark, text


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:3] + b"\0" + content[4:]


def edit(content: bytes) -> bytes:
    return content.replace(b"0.5", b"0.6")


@pytest.mark.parametrize("damage", [cut, flip, edit, lambda _: b""])
@pytest.mark.parametrize("name", ["log", "checkpoints/log"])
def test_one_damaged_file_loses_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[bytes], bytes],
) -> None:
    """It is said but where the end is missing, as after a power cut."""
    mark, text = logged(tmp_path)
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):  # the second finds nothing to mend
        log = MetricsFile(tmp_path / "log", tmp_path / "checkpoints/log")
        log.rewind(NUM_ROWS, mark)
        assert log.path.read_bytes() == log.copy.read_bytes() == text
        assert log.mark() == mark
    is_said = name == "log" and damage in (flip, edit)
    assert capsys.readouterr().err.count("log: is damaged; its rows come from its copy") == is_said
    log.append({"step": NUM_ROWS + 1, "loss": 0.25})
    log.mark()
    assert log.path.read_bytes() == log.copy.read_bytes() != text


def test_rows_of_two_damaged_files_are_lost_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, text = logged(tmp_path)
    for name in ("log", "checkpoints/log"):
        (tmp_path / name).write_bytes(flip(text))
    log = MetricsFile(tmp_path / "log", tmp_path / "checkpoints/log")
    log.rewind(NUM_ROWS, mark)
    assert log.path.read_bytes() == b"".join(text.splitlines(keepends=True)[1:])
    assert "is damaged, as its copy is; some rows may be lost" in capsys.readouterr().err


def test_a_rewind_to_an_earlier_mark(tmp_path: Path) -> None:
    """As where the newest checkpoint is damaged, and the one before takes its place."""
    log = MetricsFile(tmp_path / "log", tmp_path / "checkpoints/log")
    log.append({"step": 1})
    mark, text = log.mark(), log.path.read_bytes()
    later = {"step": 2.0}
    log.append(later)
    log.mark()
    log.rewind(1, mark)
    assert log.path.read_bytes() == text
    log.append(later)
    log.mark()
    assert log.copy.read_bytes() == log.path.read_bytes() == text + b'{"step": 2.0}\n'
