"""The index of a root: its studies on a page, and their results in timm's columns."""

import csv
import shutil
from pathlib import Path

import pytest

from pipeline.artefacts.result import Result
from pipeline.configs.study import Study
from pipeline.errors import InputError
from pipeline.tools.index import write_index
from tests.stages.test_page import browse


def test_a_root_has_a_page_and_a_table(seven_root: Path, seven_members: Study) -> None:
    page = write_index(seven_root).read_text()
    facts = Result(seven_members.check.results[-1], seven_root).facts
    assert f'href="{seven_members.folder.as_posix()}/report.html"' in page
    assert "Seven &lt;members&gt;" in page
    assert f"{100 * facts.top5_error:.2f} %" in page
    assert facts.provenance.commit[:12] in page
    assert "1.40" in page  # core-hours: seven trainings and seven evaluations
    assert "<script" not in page
    with (seven_root / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = "model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation"
    assert ",".join(rows[0]) == names
    assert len(rows) == len(seven_members.check.results)
    assert [float(row["top1"]) for row in rows] == sorted(
        (float(row["top1"]) for row in rows), reverse=True
    )
    (largest,) = [row for row in rows if row["model"].endswith("models=7 crops=144")]
    assert float(largest["top1_err"]) == pytest.approx(100 * facts.top1_error, abs=6e-4)
    assert {row["crop_pct"] for row in rows if not row["model"].endswith("=1")} == {""}


def test_what_cannot_be_read_is_named(
    seven_root: Path, seven_members: Study, tmp_path: Path
) -> None:
    """So is a study in progress. A root without any is refused, and nothing written."""
    root = Path(shutil.copytree(seven_root, tmp_path / "root"))
    (root / "reports/open-1").mkdir()
    (root / "reports/open-1/progress.html").touch()
    report = root / seven_members.folder / "report.json"
    report.write_bytes(report.read_bytes().replace(b"Seven", b"Eight"))
    page = write_index(root).read_text()
    assert "Left out: " in page
    assert "report.json: is damaged" in page
    assert 'href="reports/open-1/progress.html"' in page
    with pytest.raises(InputError, match="no study there has a report"):
        write_index(tmp_path)
    assert not (tmp_path / "index.html").exists()


@pytest.mark.slow
def test_the_page_fits_a_telephone(seven_root: Path, seven_members: Study, tmp_path: Path) -> None:
    measure = tmp_path / "measure.html"
    script = "<script>document.title = document.documentElement.scrollWidth - innerWidth</script>"
    measure.write_text(write_index(seven_root).read_text().replace("</body>", f"{script}</body>"))
    opened = browse(measure, tmp_path / "browser", "--dump-dom", "--window-size=500,900")
    assert "<title>0</title>" in opened.stdout
