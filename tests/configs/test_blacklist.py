"""ILSVRC-2014's list: read exactly, or refused in one line."""

from pathlib import Path

import pytest

from pipeline.configs.blacklist import Blacklist
from pipeline.configs.study import CheckConfig
from pipeline.errors import InputError
from tests.blacklisted import write_blacklist


def test_the_list_is_read_and_known_by_its_content(tmp_path: Path) -> None:
    path = write_blacklist(tmp_path / "list.txt", range(1, 1763))
    blacklist = Blacklist.of(path)
    assert blacklist.numbers() == frozenset(range(1, 1763))
    elsewhere = blacklist.but(path=tmp_path / "moved.txt")
    assert elsewhere.science == blacklist.science
    assert "blacklist" in CheckConfig.model_fields
    path.write_text("1\n")
    with pytest.raises(InputError, match="is no longer the list that the study was planned with"):
        blacklist.numbers()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 words, 0 of them different numbers; expected ILSVRC2014_clsloc"),
        ("1\n" * 1762, "has 1762 words, 1 of them different"),
        ("\n".join(map(str, range(1762))), "has 1762 words, 1762 of them different"),
        ("\n".join(map(str, range(48_240, 50_002))), "numbers from 1 to 50000, one a line"),
        ("\n".join(["x", *map(str, range(1, 1762))]), "has 1762 words, 1761 of them different"),
    ],
)
def test_another_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Blacklist.of(path)
    with pytest.raises(InputError, match="No such file or directory; expected ILSVRC2014"):
        Blacklist.of(tmp_path / "none.txt")
