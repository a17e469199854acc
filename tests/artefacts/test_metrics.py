"""The metrics log of a training, read whole or from its end."""

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artefacts import metrics
from pipeline.configs.train import TrainConfig


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=40),
    last=st.integers(1, 50),
    torn=st.integers(0, 20),
)
def test_the_last_rows_are_the_end_of_all(
    run_config: TrainConfig, tmp_path: Path, lengths: list[int], last: int, torn: int
) -> None:
    """This holds for rows of any length, and where a power cut tore the last row."""
    rows = [{"step": step, "note": "x" * length} for step, length in enumerate(lengths)]
    path = metrics.metrics_path(run_config, tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torn_line = json.dumps({"step": -1, "loss": 0.123456789})[:torn]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + torn_line)
    assert metrics.read_metrics(run_config, tmp_path) == rows
    assert metrics.read_metrics(run_config, tmp_path, last) == rows[-last:]


def test_no_log_has_no_rows(run_config: TrainConfig, tmp_path: Path) -> None:
    assert metrics.read_metrics(run_config, tmp_path) == []
    assert metrics.read_metrics(run_config, tmp_path, last=5) == []
