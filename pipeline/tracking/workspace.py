"""W&B workspaces and reports as code: what a study's dashboard shows, built offline,
saved to the user's server.
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
    """What a dashboard is made from. `run_ids` are W&B's; the texts are
    Markdown, empty where there is none.
    """

    study: str
    title: str
    run_ids: Sequence[str]
    policies: Sequence[str]
    top: int
    verdicts: str
    ablations: str


class Saved(NamedTuple):
    """Under which names the server knows a workspace and a report; empty before the
    first save.
    """

    workspace_name: str = ""
    workspace_id: str = ""
    report_id: str = ""


NEW = Saved()


def sections(contents: Contents) -> list[tuple[str, list[Any]]]:
    """The panels under their headings: what matters first."""
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
    """A workspace that shows the study's runs only."""
    made = ws.Workspace(
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
    _take_names(made, saved)
    return made


def report(contents: Contents, entity: str, project: str, saved: Saved = NEW) -> wr.Report:
    """The same as a report: a page to read from top to bottom and to send round."""
    runset = wr.Runset(
        entity=entity, project=project, name=contents.study, filters=_filters(contents)
    )
    blocks: list[Any] = [wr.TableOfContents()]
    for name, panels in sections(contents):
        texts = [panel.markdown for panel in panels if isinstance(panel, wr.MarkdownPanel)]
        drawn = [panel for panel in panels if not isinstance(panel, wr.MarkdownPanel)]
        blocks += [wr.H2(text=name), *(wr.MarkdownBlock(text=text) for text in texts)]
        blocks.append(wr.PanelGrid(runsets=[runset], panels=drawn))
    made = wr.Report(
        entity=entity, project=project, title=contents.title[:128], blocks=blocks, width="fluid"
    )
    made.id = saved.report_id
    return made


def save(contents: Contents, saved: Saved) -> tuple[Saved, list[str]]:
    """Create both on the user's server, or update those of an earlier save; returns
    their names there and addresses.

    Raises:
        wandb.errors.Error: there is no key, or the server does not take them.
    """
    api = wandb.Api(timeout=20)
    entity = os.environ.get("WANDB_ENTITY") or api.default_entity or ""
    project = os.environ.get("WANDB_PROJECT", "going-deeper")
    page, board = (
        report(contents, entity, project, saved),
        workspace(contents, entity, project, saved),
    )
    page.save()  # makes the project, if need be
    board.save()
    return Saved(*_names(board), page.id), [board.url, page.url]


def _names(board: ws.Workspace) -> tuple[str, str]:
    """Under which the server knows a workspace. They are private to wandb-workspaces
    (tried with 0.4.13).

    Raises:
        InputError: this version has them no more.
    """
    try:
        return board._internal_name, board._internal_id
    except AttributeError:
        raise InputError(
            "wandb-workspaces: this version cannot update a workspace; pip install"
            " wandb-workspaces==0.4.13"
        ) from None


def _take_names(board: ws.Workspace, saved: Saved) -> None:
    _names(board)  # else new attributes would be set, and a second workspace saved
    board._internal_name, board._internal_id = saved.workspace_name, saved.workspace_id


def _filters(contents: Contents) -> Any:
    return expr.And(ws.Metric("ID").isin(list(contents.run_ids)))
