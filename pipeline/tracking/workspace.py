"""W&B workspaces and reports as code: the dashboard of a study.

They are built offline and saved to the user's server.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from pipeline.errors import InputError

GAP, TARGET = "gap_to_published", "published_top5_error"


class Contents(NamedTuple):
    """The contents of a dashboard.

    `run_ids` are those of W&B. The texts are Markdown, and may be empty.
    """

    study: str
    title: str
    run_ids: Sequence[str]
    policies: Sequence[str]
    top: int
    verdicts: str
    ablations: str


class Saved(NamedTuple):
    """The server's names of a workspace and a report; empty before the first save."""

    workspace_name: str = ""
    workspace_id: str = ""
    report_id: str = ""


NEW = Saved()


def sections(contents: Contents) -> list[tuple[str, list[Any]]]:
    """Return the panels under their headings; the most important come first."""
    error = f"top{contents.top}_error"
    validated, arm = f"val_{error}_averaged", wr.Config("arm")
    spread: dict[str, Any] = {
        "groupby": arm,
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
    }
    return [
        (
            "Gap to the paper and verdicts",
            [
                wr.MarkdownPanel(
                    markdown=contents.verdicts or "No verdict yet: the study is in progress."
                ),
                wr.BarPlot(
                    title="Top-5 error less the published one (of ImageNet at 224 px), by result",
                    metrics=[GAP],
                    orientation="h",
                ),
                wr.ScalarChart(
                    title="The smallest gap to ImageNet's published error",
                    metric=GAP,
                    groupby_aggfunc="min",
                ),
            ],
        ),
        (
            "Training",
            [
                wr.LinePlot(
                    title=(
                        f"Top-{contents.top} error at one crop: mean and range over seeds; the"
                        " paper's as a line"
                    ),
                    x="epoch",
                    y=[validated, *([TARGET] if contents.top == 5 else [])],
                    title_x="epoch",
                    title_y="error",
                    **spread,
                ),
                wr.LinePlot(title="Loss", x="epoch", y=["loss"], title_x="epoch", **spread),
            ],
        ),
        (
            "Crops and ensembles",
            [
                wr.BarPlot(
                    title=f"Top-{contents.top} error of the members, by crops",
                    metrics=[f"{policy}/{error}" for policy in contents.policies],
                    orientation="v",
                ),
                wr.BarPlot(
                    title=f"Top-{contents.top} error of the results",
                    metrics=[error],
                    orientation="h",
                ),
                wr.ScatterPlot(
                    title="Error by number of models",
                    x=wr.SummaryMetric("num_models"),
                    y=wr.SummaryMetric(error),
                ),
            ],
        ),
        (
            "Ablations",
            [
                wr.MarkdownPanel(markdown=contents.ablations or "The study compares no arms."),
                wr.BarPlot(
                    title="At the end of training, by arm",
                    metrics=[validated],
                    groupby=arm,
                    orientation="h",
                ),
            ],
        ),
        (
            "Throughput and memory",
            [
                wr.LinePlot(title=title, x="epoch", y=[metric], title_x="epoch")
                for title, metric in (
                    ("Images per second", "images_per_second"),
                    ("Share of the time spent waiting for images", "data_wait"),
                    ("Memory, GB", "memory_gb"),
                )
            ],
        ),
        (
            "What it gets wrong",
            [
                wr.WeavePanelSummaryTable(table_name=name)
                for name in ("worst_mistakes", "confusions")
            ],
        ),
    ]


def workspace(contents: Contents, entity: str, project: str, saved: Saved = NEW) -> ws.Workspace:
    """Return a workspace that shows only the study's runs."""
    board = ws.Workspace(
        entity=entity,
        project=project,
        name=contents.title,
        sections=[
            ws.Section(name=name, panels=panels, is_open=True)
            for name, panels in sections(contents)
        ],
        runset_settings=ws.RunsetSettings(filters=_filters(contents)),
        auto_generate_panels=False,
    )
    _take_names(board, saved)
    return board


def report(contents: Contents, entity: str, project: str, saved: Saved = NEW) -> wr.Report:
    """Return the dashboard as a report: a page to read from top to bottom."""
    runset = wr.Runset(
        entity=entity, project=project, name=contents.study, filters=_filters(contents)
    )
    blocks: list[Any] = [wr.TableOfContents()]
    for name, panels in sections(contents):
        texts = [panel.markdown for panel in panels if isinstance(panel, wr.MarkdownPanel)]
        charts = [panel for panel in panels if not isinstance(panel, wr.MarkdownPanel)]
        blocks += [wr.H2(text=name), *(wr.MarkdownBlock(text=text) for text in texts)]
        blocks.append(wr.PanelGrid(runsets=[runset], panels=charts))
    page = wr.Report(
        entity=entity, project=project, title=contents.title[:128], blocks=blocks, width="fluid"
    )
    page.id = saved.report_id
    return page


def save(contents: Contents, saved: Saved) -> tuple[Saved, list[str]]:
    """Save the workspace and the report on the user's server, and update earlier ones.

    Return their names on the server, and their addresses.

    Raises:
        wandb.errors.Error: there is no key, or the server refuses them.
    """
    api = wandb.Api(timeout=20)
    entity = os.environ.get("WANDB_ENTITY") or api.default_entity or ""
    project = os.environ.get("WANDB_PROJECT", "going-deeper")
    page, board = (
        report(contents, entity, project, saved),
        workspace(contents, entity, project, saved),
    )
    page.save()  # this makes the project, if need be
    board.save()
    return Saved(*_names(board), page.id), [board.url, page.url]


def _names(board: ws.Workspace) -> tuple[str, str]:
    """Return the server's two names of a workspace.

    They are private to wandb-workspaces (tried with 0.4.13).

    Raises:
        InputError: this version no longer has them.
    """
    try:
        return board._internal_name, board._internal_id
    except AttributeError:
        raise InputError(
            "wandb-workspaces: this version cannot update a workspace; pip install"
            " wandb-workspaces==0.4.13"
        ) from None


def _take_names(board: ws.Workspace, saved: Saved) -> None:
    _names(board)  # a check: on another version this would save a second workspace
    board._internal_name, board._internal_id = saved.workspace_name, saved.workspace_id


def _filters(contents: Contents) -> Any:
    return expr.And(ws.Metric("ID").isin(list(contents.run_ids)))
