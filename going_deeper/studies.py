"""Studies from Python: run one here, and read what it found."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import read_verdicts
from pipeline.commands.missing import run_missing
from pipeline.configs.study import Study


def run(study: Study, root: str | Path = "outputs", processes: int | None = None) -> pd.DataFrame:
    """Run the missing stages of a study on this machine, and return its `results`.

    Args:
        study: a value of an experiment, or `load_study("demo.py", ["--epochs", "3"])`.
        root: folder of all artefacts.
        processes: ranks here; by default one a GPU, or one a core.

    Raises:
        ExpectedError: the input is wrong (InputError), or a stage failed.
    """
    run_missing(study, Path(root), None, processes)
    return results(study, root)


def results(study: Study, root: str | Path = "outputs") -> pd.DataFrame:
    """Return a row for each result of a study: models, policy, errors, intervals.

    Errors are shares of all images, with Wilson's 95 % intervals.

    Raises:
        InputError: a result is not complete, or damaged.
    """
    rows = []
    for config in study.check.results:
        facts = Result(config, Path(root)).facts
        rows.append(
            {
                "result": config.hash,
                "models": config.num_models,
                "policy": config.policy,
                "images": facts.num_images,
                "top1_error": facts.top1_error,
                "top1_low": facts.top1_interval[0],
                "top1_high": facts.top1_interval[1],
                "top5_error": facts.top5_error,
                "top5_low": facts.top5_interval[0],
                "top5_high": facts.top5_interval[1],
            }
        )
    return pd.DataFrame(rows)


def verdicts(study: Study, root: str | Path = "outputs") -> pd.DataFrame:
    """Return a row for each claim of the paper: its text, the verdict and the reason.

    Raises:
        InputError: the claims are not judged yet, or a file is damaged.
    """
    return pd.DataFrame([asdict(each) for each in read_verdicts(study.check, Path(root))[0]])
