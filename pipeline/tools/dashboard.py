"""Create or update the dashboard of a study on W&B, from the files under the root."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Verdict, read_verdicts
from pipeline.configs.study import Study
from pipeline.errors import InputError, StageFailed
from pipeline.paper.policies import CURVE
from pipeline.reporting.ablations import comparisons
from pipeline.reporting.wording import templates
from pipeline.runtime import disk
from pipeline.statistics.levels import deciding_top
from pipeline.tracking import sync as wandb_sync
from pipeline.tracking import workspace as dashboard
from pipeline.tracking.page import run_id
from pipeline.tracking.workspace import Contents, Saved


def save_dashboard(study: Study, root: Path) -> list[str]:
    """Create or update the workspace and the report of a study, and return their
    addresses.

    Raises:
        InputError: the server does not answer, or there is no key for it.
        StageFailed: the server does not take them.
    """
    server = wandb_sync.server()
    if not wandb_sync.is_reachable():
        raise InputError(f"{server} does not answer; set WANDB_BASE_URL")
    place = [os.environ.get(name, "") for name in ("WANDB_ENTITY", "WANDB_PROJECT")]
    path = root / "dashboards" / f"{study.folder.name}.json"
    try:
        known = json.loads(path.read_text()) if path.is_file() else {}
        earlier = (
            Saved(**known["saved"])
            if known and [known["server"], known["place"]] == [server, place]
            else Saved()
        )
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: is damaged; remove it, and the dashboard is made once more"
        ) from None
    try:
        saved, addresses = dashboard.save(contents_of(study, root), earlier)
    # an error of wandb, pydantic or the connection: nothing was written here
    except Exception as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        if any(words in message.lower() for words in ("api_key", "logged in", "api key")):
            raise InputError(
                f"{server} wants a key; set WANDB_API_KEY, or run wandb login"
            ) from None
        raise StageFailed(f"{server} does not take the dashboard: {message}") from None
    disk.write_json(
        path, {"server": server, "place": place, "saved": saved._asdict(), "addresses": addresses}
    )
    return addresses


def contents_of(study: Study, root: Path) -> Contents:
    """Return what the dashboard of a study shows now; the study may be in progress."""
    first = study.check.results[0]
    is_known = first.is_complete(root)
    verdicts = read_verdicts(study.check, root)[0] if study.check.is_complete(root) else []
    policies = {
        policy
        for result in study.check.results
        for member in result.members
        for policy in member.policies
    }
    return Contents(
        study=study.name,
        title=study.title,
        run_ids=[run_id(config, root) or config.hash for config in study.stages[:-1]],
        policies=[policy for policy in CURVE if policy in policies],
        top=deciding_top(Result(first, root).facts.num_classes) if is_known else 5,
        verdicts=_as_markdown(verdicts) if verdicts else "",
        ablations=templates()
        .get_template("ablations.md")
        .render(comparisons=comparisons(study.comparisons, root))
        .strip(),
    )


def _as_markdown(verdicts: Sequence[Verdict]) -> str:
    return templates().get_template("verdicts.md").render(verdicts=verdicts).strip() + "\n"
