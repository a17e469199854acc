"""Makes the steps of jobs slow, so that a short study lasts until its test has done
with it what it wants.

Python imports this at its start where PYTHONPATH names this folder, in place of a
machine's own file of that name. A step of training, or an image of an evaluation, takes
a second longer as long as the file SLOW_STEPS_FILE is there; all else is as users have
it.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

STEPS = {
    "pipeline.training.learner": "Learner.step",
    "pipeline.artefacts.publisher": "Publisher.add",
}
SECONDS = 1.0


class SlowSteps(MetaPathFinder):
    """Find the modules with the steps where Python would, and make the steps slow once
    a module is loaded.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in STEPS else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_slow(module: ModuleType) -> None:
            load(module)
            *owners, step = STEPS[name].split(".")
            owner: Any = module
            for each in owners:
                owner = getattr(owner, each)
            setattr(owner, step, slowed(getattr(owner, step)))

        spec.loader.exec_module = load_and_slow  # type: ignore[method-assign]
        return spec


def slowed(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step that waits first."""

    def slow_step(*given: Any, **named: Any) -> Any:
        until = time.monotonic() + SECONDS
        while Path(os.environ["SLOW_STEPS_FILE"]).exists() and time.monotonic() < until:
            time.sleep(0.05)
        return step(*given, **named)

    return slow_step


if "SLOW_STEPS_FILE" in os.environ:
    sys.meta_path.insert(0, SlowSteps())
