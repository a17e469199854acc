"""What a report shows harms nobody: served to this machine alone, no formula in a
table, no script and no link in a title.
"""

import csv
import html.parser
import http.client
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pipeline.configs.experiment import load_study
from pipeline.reporting import charts
from pipeline.reporting.rows import ClassRow, ForestLine
from pipeline.reporting.server import served
from pipeline.reporting.table_files import as_csv
from pipeline.reporting.wording import templates
from pipeline.stages.progress import report_progress
from pipeline.stages.report import report
from tests.commands import TOP
from tests.test_results import OPTIONS

HOSTILE = "<script>alert(1)</script> [a](//b.c) ![d](//e.f) `x` **g** | h\n\n# i \x1b]0;j\x07"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A folder with a page, what must not be served beside it, and links to that."""
    folder = tmp_path / "reports"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables/a.csv").write_text("a\n")
    (folder / "report.html").write_text("the page")
    (tmp_path / "secret").write_text("not served")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    (folder / "inner").symlink_to("tables/a.csv")
    os.mkfifo(folder / "pipe")
    with served(folder / "report.html", 0) as page:
        yield page


def answer(address: str, path: str, *hosts: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for host in hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.read()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:1"])
def test_this_machine_sees_the_page(address: str, host: str) -> None:
    assert answer(address, "/report.html", host) == (200, b"the page")
    assert answer(address, "/tables/a.csv", host) == (200, b"a\n")
    assert answer(address, "/inner", host) == (200, b"a\n")
    assert answer(address, "/report.html", host, method="HEAD") == (200, b"")


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["evil.example:80"],
        ["127.0.0.1.evil.example"],
        ["localhost.evil.example"],
        ["evil@localhost.evil"],
        ["127.0.0.1", "evil.example"],
        ["[::1"],
        [""],
        [],
    ],
)
def test_another_name_for_this_machine_sees_nothing(address: str, hosts: list[str]) -> None:
    for method in ("GET", "HEAD"):
        status, content = answer(address, "/report.html", *hosts, method=method)
        assert status == 421
        assert b"the page" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/tables",
        "/tables/",
        "/link",
        "/up/secret",
        "/up/",
        "/loop",
        "/pipe",
        "/../secret",
        "/%2e%2e/secret",
        "//secret",
        "/tables/../../secret",
        "/%00",
        "/" + "a" * 5000,
        "/%ff%fe",
        "/nothing",
    ],
)
def test_no_folder_is_listed_and_no_link_leads_out(address: str, path: str) -> None:
    status, content = answer(address, path, "localhost")
    assert status == 404
    assert b"not served" not in content
    assert b"a.csv" not in content


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd()",
    "-2+3+cmd()",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\uff1d1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    rows = [ClassRow(name=text, images=1, top1_error=-0.5, taken_for="-1.5", times=1)]
    (cells,) = csv.DictReader(io.StringIO(as_csv(rows).decode(), newline=""))
    assert cells["class"] == f"'{text}".replace("\r", " ")
    assert (float(cells["top1_error"]), float(cells["taken_for"])) == (-0.5, -1.5)


def test_a_negative_number_of_any_table_stays_a_number() -> None:
    assert as_csv(
        [ForestLine(arm="a", decision="undecided", difference=-1.0, low=-2e-9, high=3.0)]
    ).decode() == ("arm,decision,difference,low,high\na,undecided,-1.0,-2e-09,3.0\n")


class Tags(html.parser.HTMLParser):
    """The names of all tags of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.names = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)


def test_a_hostile_title_is_only_a_title(tmp_path: Path) -> None:
    """So in the report, in the page before it, in RESULTS.md and on the screen."""
    root = Path(shutil.copytree(TOP / "results", tmp_path / "results"))
    study = load_study(TOP / "experiments/caltech101.py", OPTIONS).but(title=HOSTILE)
    page, progress = report(study, root), report_progress(study, root, [])
    assert Tags(page.read_text()).names.isdisjoint({"script", "iframe", "object"})
    assert "script" not in Tags(progress.read_text()).names
    first, second, *_ = (page.parent / "RESULTS.md").read_text().splitlines()
    assert first == (
        r"# Results: &lt;script&gt;alert(1)&lt;/script&gt; \[a\](//b.c) !\[d\](//e.f) \`x\`"
        r" \*\*g\*\* \| h # i \]0;j"
    )
    assert second == ""
    summary = (page.parent / "summary.txt").read_text()
    assert summary.count("\n", 0, summary.index("classes,")) == 1
    assert "\x1b" not in summary + page.read_text() + progress.read_text()


def test_a_hostile_arm_is_only_text() -> None:
    """In a chart and in the lines of a table."""
    svg = charts.forest(
        [ForestLine(arm=HOSTILE[:25], decision="undecided", difference=1.0, low=0.0, high=2.0)]
    )
    assert "script" not in Tags(svg).names
    line = templates().from_string("| {{ arm | markdown }} |").render(arm=HOSTILE)
    assert line.count("|") - line.count(r"\|") == 2
    assert "\n" not in line
    assert "<" not in line
