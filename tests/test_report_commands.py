"""going-deeper report while a study is in progress: --watch and --serve until the
verdict.
"""

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.commands import TOP, Finished


@pytest.mark.slow
def test_a_study_is_watched_until_its_report(finished: Finished, tmp_path: Path) -> None:
    """The page in progress is served; once the verdict is there, the same address leads
    to the report.
    """
    root = finished.copy(tmp_path)
    arguments = [finished.experiment, "--data", finished.data, "--root", root]
    (verdicts,), (reports,) = root.glob("verdicts/*"), root.glob("reports/*")
    shutil.move(verdicts, tmp_path / "verdicts")
    shutil.rmtree(reports)
    command = [
        sys.executable,
        "-c",
        (
            "import pipeline.commands.report as c; c.WATCH_SECONDS = 0.5; import"
            " pipeline.commands.main as m; m.main()"
        ),
    ]
    options = [
        "report",
        *map(str, arguments),
        "--watch",
        "--serve",
        "--into",
        str(tmp_path / "into"),
    ]
    with subprocess.Popen(
        [*command, *options], cwd=TOP, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stderr is not None
        address = re.search(r"http://\S+", watching.stderr.readline())
        assert address is not None

        def page() -> str:
            with urllib.request.urlopen(address[0]) as answer:
                return str(answer.read().decode())

        assert "In progress: 11 of 13 stages complete" in page()
        shutil.move(tmp_path / "verdicts", verdicts)
        deadline = time.monotonic() + 60
        while "url=report.html" not in page():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        while not (tmp_path / "into/RESULTS.md").is_file():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        watching.terminate()
    assert "| R6a |" in (tmp_path / "into/RESULTS.md").read_text()
