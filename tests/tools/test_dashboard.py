"""going-deeper dashboard: the workspace and the report of a study reach a server, and
are updated, not doubled.
"""

import json
import re
from pathlib import Path

import pytest

from pipeline.tracking import workspace as dashboard
from pipeline.tracking.workspace import Contents
from tests.commands import TOP, going_deeper
from tests.wandb_stub import WandbStub

GOLDEN = TOP / "tests" / "golden" / "workspace.json"
CONTENTS = Contents(
    study="demo",
    title="Demo: 2 members",
    run_ids=["0123456789abcdef", "fedcba9876543210"],
    policies=["crops_1", "crops_144"],
    top=5,
    verdicts="| claim |\n|---|\n| R1 |\n",
    ablations="",
)


def test_the_workspace_is_the_golden_one() -> None:
    """Write it anew with: python -m tests.tools.test_dashboard >
    tests/golden/workspace.json
    """
    assert spec() == json.loads(GOLDEN.read_text())


@pytest.mark.slow
def test_a_second_save_updates(
    server: WandbStub,
    experiment: Path,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The saves come before the study has run, after it, without a key, and without a
    server.
    """
    command = ("dashboard", experiment, "--data", image_folder, "--root", tmp_path)
    first = going_deeper(*command)
    assert first.returncode == 0, first.stderr
    addresses = first.stdout.splitlines()
    assert [re.sub(r".*/going-deeper", "", address)[:4] for address in addresses] == [
        "?nw=",
        "/rep",
    ]
    assert going_deeper(*command).stdout.splitlines() == addresses
    assert sorted(view["type"] for view in server.views.values()) == ["project-view", "runs"]
    for view in server.views.values():
        shown = json.dumps(view["spec"])
        assert view["title"] == "A tiny study"
        for wanted in (
            "No verdict yet",
            "gap_to_published",
            "val_top5_error_averaged",
            "crops_144/top5_error",
            "images_per_second",
        ):
            assert wanted in shown
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    address = server.address
    assert (process := going_deeper(*command)).returncode == 2
    assert (
        process.stderr
        == f"going-deeper: {address} wants a key; set WANDB_API_KEY, or run wandb login\n"
    )
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert (
        going_deeper(*command).stderr
        == "going-deeper: http://127.0.0.1:9 does not answer; set WANDB_BASE_URL\n"
    )


def spec() -> object:
    """Return the spec of the workspace, without the names that are drawn anew each
    time.
    """
    model = dashboard.workspace(CONTENTS, "someone", "going-deeper")._to_model()
    content = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))

    def renamed(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: "" if key in ("__id__", "id") else renamed(item) for key, item in value.items()
            }
        return [renamed(item) for item in value] if isinstance(value, list) else value

    return renamed(content)


if __name__ == "__main__":
    print(json.dumps(spec(), indent=1))
