"""The pages of a study in a real browser: nothing is asked of the network, nothing
fails, all is drawn, at every width.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.configs.study import Study
from pipeline.stages.progress import report_progress

QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
)
REQUEST = re.compile(r'"url":\s*"(https?://[^"/?]+)')
pytestmark = pytest.mark.slow


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (program := shutil.which(name)) is not None:
            return program
    if os.environ.get("CI"):
        pytest.fail("not installed: chromium")
    pytest.skip("not installed: chromium")


def browse(page: Path, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Open a page, and return what the browser prints. The names of all hosts lead
    nowhere.
    """
    folder.mkdir(exist_ok=True)
    command: list[str | Path] = [
        browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        *QUIET,
    ]
    command += [
        "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--log-net-log={folder / 'net.json'}",
    ]
    return subprocess.run(
        [*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )


def test_the_page_asks_for_nothing_and_logs_nothing(
    seven_root: Path, seven_members: Study, tmp_path: Path
) -> None:
    page = seven_root / seven_members.folder / "report.html"
    opened = browse(page, tmp_path, "--dump-dom")
    assert "CONSOLE" not in opened.stderr
    asked = set(REQUEST.findall((tmp_path / "net.json").read_text()))
    empty = tmp_path / "empty.html"
    empty.write_text("<title>nothing</title>")
    browse(empty, tmp_path / "other", "--dump-dom")
    # of the browser, for itself
    own = set(REQUEST.findall((tmp_path / "other" / "net.json").read_text()))
    assert asked <= own
    assert opened.stdout.count("<svg") == 3
    assert "McNemar" in opened.stdout


# the narrowest window that headless Chromium makes, and a desk
@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("kind", ["complete", "in progress"])
def test_it_fits_and_its_charts_are_drawn(
    seven_root: Path, seven_members: Study, tmp_path: Path, width: int, kind: str
) -> None:
    """The page is as wide as the window, and the lines of all members are in the
    picture.
    """
    page = seven_root / seven_members.folder / "report.html"
    if kind == "in progress":
        shown = report_progress(
            Study(name="open", title="Open", check=seven_members.check), seven_root, []
        )
        page = shown.rename(tmp_path / "open.html")
    measure = tmp_path / "measure.html"
    script = (
        "<script>document.title = [document.documentElement.scrollWidth,"
        " innerWidth].join()</script>"
    )
    measure.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    opened = browse(measure, tmp_path, "--dump-dom", f"--window-size={width},900")
    sides = re.search(r"<title>(\d+),(\d+)</title>", opened.stdout)
    assert sides is not None
    assert int(sides[1]) <= int(sides[2]) == width
    browse(page, tmp_path, f"--screenshot={tmp_path / 'page.png'}", f"--window-size={width},6000")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ((0x2F, 0x7F, 0xD0), (0x8E, 0x63, 0xCE)):  # of one model and of all
        assert (np.abs(pixels - colour).max(axis=1) < 8).sum() > 50
