"""The index of a root: a page of its studies, and their results in timm's columns."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import SealedPredictions, SealedRun
from pipeline.artefacts.facts import Facts
from pipeline.artefacts.result import Result
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.crops import scales
from pipeline.paper.policies import label_of, split_policy
from pipeline.reporting import table_files, tables
from pipeline.reporting.findings import headline, largest
from pipeline.reporting.rows import Cell
from pipeline.reporting.wording import templates
from pipeline.runtime import disk
from pipeline.statistics.levels import deciding_top

PAGE, TABLE = "index.html", "results.csv"
REPORT, PROGRESS = "report.html", "progress.html"


class StudyRow(Facts):
    """A study on the page: what it has, what it found, and what it cost.

    `page` is the path of its report below the root.
    """

    study: str
    title: str
    page: str
    data: str
    input_size: int
    images: int
    members: int
    questions: int
    arms: int
    headline: str
    shown: Cell
    commits: list[str]
    devices: list[str]
    core_or_gpu_hours: float
    finished_at: str


class TimmRow(Facts):
    """A result in the columns of timm's results/*.csv: per cent, millions of weights.

    `crop_pct` is the share of the shorter side that one central crop covers; several
    crops have none. `param_count` is of all models of an ensemble.
    """

    model: str
    img_size: int
    top1: float
    top1_err: float
    top5: float
    top5_err: float
    param_count: float | None
    crop_pct: float | None
    interpolation: str


def write_index(root: Path) -> Path:
    """Write the index of a root, its page and its table, and return the page.

    A study that cannot be read is named on the page, with the reason.

    Raises:
        InputError: no study under the root has a report, or a page of its progress.
    """
    rows, results, problems = list[StudyRow](), list[TimmRow](), list[str]()
    for path in sorted((root / Study.room).glob(f"*/{Study.last_file}")):
        try:
            study = _study(path)
            row, cells = _read(study, root)
        except InputError as error:
            problems.append(str(error))
        else:
            rows.append(row)
            results += cells
    running = [
        page.relative_to(root).as_posix()
        for page in sorted((root / Study.room).glob(f"*/{PROGRESS}"))
        if not (page.parent / Study.last_file).is_file()
    ]
    if not rows and not problems and not running:
        raise InputError(f"{root}: no study there has a report; make one with going-deeper report")
    fields = {
        "title": f"Studies under {root.resolve().name}",
        "studies": sorted(rows, key=lambda row: row.finished_at, reverse=True),
        "running": running,
        "problems": problems,
        "table": TABLE if results else "",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    page = templates().get_template(PAGE).render(fields)
    disk.write_atomic(root / PAGE, page.encode())
    if results:
        ordered = sorted(results, key=lambda row: (-row.top1, row.model))
        disk.write_atomic(root / TABLE, table_files.as_csv(ordered))
    return root / PAGE


def _study(path: Path) -> Study:
    """Return the study of a report.

    Raises:
        InputError: the report is damaged, or a version before this one made it.
    """
    sealed = sealing.REPORT.load(path)
    remedy = "make it again with going-deeper report"
    try:
        study = Study.model_validate(sealed.config)
    except ValidationError:
        raise InputError(f"{path}: is of another version of this program; {remedy}") from None
    if study.hash != sealed.hash:
        raise InputError(f"{path}: is of another version of this program; {remedy}")
    return study


def _read(study: Study, root: Path) -> tuple[StudyRow, list[TimmRow]]:
    results = [Result(config, root) for config in study.check.results]
    first, top = results[0].facts, deciding_top(results[0].facts.num_classes)
    cells = tables.cells(results, top)
    members = {member.hash: member for result in results for member in result.config.members}
    everyone = members | {
        member.hash: member
        for asked in study.comparisons
        for arm in asked.arms
        for member in arm.members
    }
    made = list(_artefacts(list(everyone.values()), root))
    commits = (part.provenance.commit[:12] + "+" * part.provenance.dirty for part in made)
    member = results[0].config.members[0]
    row = StudyRow(
        study=study.name,
        title=study.title,
        page=(study.folder / REPORT).as_posix(),
        data=member.data.name,
        input_size=member.classifier.input_size,
        images=first.num_images,
        members=len(members),
        questions=len(study.comparisons),
        arms=sum(len(asked.arms) for asked in study.comparisons),
        headline=headline(cells, top),
        shown=largest(cells),
        commits=list(dict.fromkeys(commits)),
        devices=list(dict.fromkeys(map(_device, made))),
        core_or_gpu_hours=sum(part.core_or_gpu_hours for part in made),
        finished_at=sealing.REPORT.unseal(study, root).provenance.finished_at,
    )
    return row, [_as_timm(study, result, root) for result in results]


def _artefacts(
    members: Sequence[EvaluateConfig], root: Path
) -> Iterator[SealedRun | SealedPredictions]:
    """Yield what cost time: each training and each evaluation, once."""
    runs = {member.classifier for member in members}
    for run in sorted((run for run in runs if isinstance(run, TrainConfig)), key=lambda r: r.hash):
        yield sealing.RUN.unseal(run, root)
    for member in members:
        yield sealing.PREDICTIONS.unseal(member, root)


def _device(made: SealedRun | SealedPredictions) -> str:
    if made.device.startswith("cpu"):
        return made.provenance.machine
    return (made.hardware or {}).get("name", made.provenance.machine)


def _as_timm(study: Study, result: Result, root: Path) -> TimmRow:
    facts, member = result.facts, result.config.members[0]
    crops, size = label_of(result.config.policy), member.classifier.input_size
    models = [result.config.members[place].classifier for place in facts.chosen_members]
    counts = [
        sealing.RUN.unseal(model, root).num_parameters if isinstance(model, TrainConfig) else None
        for model in models
    ]
    known = [count for count in counts if count is not None]
    kernel = member.crops.resize.split("_")[1]
    is_central = split_policy(result.config.policy)[0] == "crops_1"
    return TimmRow(
        model=f"{study.name}-{study.hash[:8]} models={len(models)} crops={crops}",
        img_size=size,
        top1=_percent(1 - facts.top1_error),
        top1_err=_percent(facts.top1_error),
        top5=_percent(1 - facts.top5_error),
        top5_err=_percent(facts.top5_error),
        param_count=round(sum(known) / 1e6, 2) if len(known) == len(models) else None,
        crop_pct=round(size / scales(size)[0], 3) if is_central else None,
        interpolation={"cubic": "bicubic"}.get(kernel, kernel),
    )


def _percent(share: float) -> float:
    return round(100 * share, 3)
