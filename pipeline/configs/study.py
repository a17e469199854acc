"""What a study is: results, the claims judged on them, and the order of all stages."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.blacklist import Blacklist
from pipeline.configs.compare import CompareConfig, EnsembleConfig, comparison, table3
from pipeline.configs.evaluate import EvaluateConfig, Policy
from pipeline.configs.prepare import NAME, PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.policies import CURVE, NUM_CROPS
from pipeline.paper.published import Cell, PublishedId

STUDY_FILE = "study.json"  # of a report's folder: a study can be named by that folder


class PublishedWeights(Frozen):
    """The neighbour of paper/published.toml whose weights were measured, by its id."""

    id: PublishedId
    """R7 (torchvision's GoogLeNet) or R8 (Caffe's)."""


class PublishedRecipe(Frozen):
    """The neighbour of paper/published.toml whose recipe the study trains by.

    Its published errors are judged where every constant is the recipe's.
    """

    recipe_of: Literal["R8"]
    """R8 (Caffe's quick recipe)."""

    @property
    def id(self) -> str:
        """The id of the neighbour."""
        return self.recipe_of


class CheckConfig(StageConfig):
    """The claims of the paper, judged on these results.

    Where the weights or the recipe of a `neighbour` were measured, its published errors
    are judged too. With `family` the published errors of GoogLeNet's successors are
    judged, on each member by itself.
    """

    stage: ClassVar[str] = "check"
    room: ClassVar[str] = "verdicts"
    last_file: ClassVar[str] = "check.json"
    artifact_type: ClassVar[str] = "verdicts"
    kept: ClassVar[tuple[str, ...]] = ("verdicts.jsonl",)
    # 2: Holm's correction; 3: the images that decide are counted with it; 4: p of what
    # was decided; 5: two-sided, over members, data and network recognised, R7 to R9;
    # 6: files by their notes, training images recognised, R7 and R8 as their makers
    version: Literal[6] = 6
    results: tuple[EnsembleConfig, ...] = Field(min_length=1)
    """The cells of Table 3 that claims are judged on."""
    neighbour: PublishedWeights | PublishedRecipe | None = None
    """Whose published errors are judged too."""
    family: bool = False
    """Judge what paper/family.toml has, in place of the paper's claims."""
    blacklist: Blacklist | None = None
    """The validation images without which all errors are measured too."""

    @property
    def cells(self) -> dict[Cell, EnsembleConfig]:
        """The results that claims are judged on: those of the paper's crops, averaged.

        The last of several ensembles is "all".
        """
        cells: dict[Cell, EnsembleConfig] = {}
        for result in self.results:
            if result.policy in CURVE:
                crops = NUM_CROPS[result.policy]
                cells[Cell(result.num_models, crops)] = result
                if result.num_models > 1:
                    cells[Cell("all", crops)] = result
        return cells


class Study(StageConfig):
    """A question with a name: results, the claims judged on them, and compared arms.

    Its own stage is the last one, the report: RESULTS.md and report.html.
    """

    stage: ClassVar[str] = "report"
    room: ClassVar[str] = "reports"
    last_file: ClassVar[str] = "report.json"
    artifact_type: ClassVar[str] = "report"
    version: Literal[2] = 2
    name: str = Field(pattern=NAME)
    """What the study and its report's folder are called."""
    title: str
    """The report's heading."""
    check: CheckConfig
    """The claims that are judged."""
    comparisons: tuple[CompareConfig, ...] = ()
    """The ablations."""

    def trained_member(self, number: int) -> TrainConfig:
        """Return the training of a member; members count from 0.

        Raises:
            InputError: there is no such member, or it was trained elsewhere.
        """
        members = self.check.results[0].members
        if not 0 <= number < len(members):
            raise InputError(f"--member {number}: the study has members 0 to {len(members) - 1}")
        classifier = members[number].classifier
        if not isinstance(classifier, TrainConfig):
            raise InputError(f"--member {number}: was trained elsewhere; expected a run of ours")
        return classifier

    @property
    def folder(self) -> Path:
        """The folder of the report; people read its name: the study, then the hash."""
        return Path(self.room) / f"{self.name}-{self.hash}"

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        """Every stage once, each after its inputs; the study itself is the last."""
        ordered: dict[str, StageConfig] = {}

        def visit(config: StageConfig) -> Iterator[StageConfig]:
            for source in config.inputs:
                yield from visit(source)
            yield config

        for config in visit(self):
            ordered.setdefault(config.hash, config)
        return tuple(ordered.values())


def note_of(study: Study) -> bytes:
    """Return a study as the content of its note, with a digest."""
    content = study.model_dump(mode="json")
    return json.dumps({"sha256": _digest(content), "study": content}).encode()


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def study_in(folder: Path) -> Study:
    """Return the study of a report's folder, which `run` notes there.

    Raises:
        InputError: there is no such note, it is damaged, or a version before this one
            wrote it.
    """
    path = folder / STUDY_FILE
    try:
        content = path.read_bytes()
        note = json.loads(content)
        study = Study.model_validate(note["study"])
        if note["sha256"] != _digest(note["study"]) or content != note_of(study):
            raise ValueError("other bytes")
        return study
    except OSError:
        raise InputError(
            f"{folder}: has no {STUDY_FILE}; expected an experiment, or the folder of a report"
            f" under ROOT/{Study.room}"
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(
            f"{path}: is damaged, or of another version; name the experiment in place of the"
            " folder, and run writes it again"
        ) from None


def ablation(
    name: str,
    question: str,
    arms: Mapping[str, Sequence[EvaluateConfig]],
    policy: Policy = "crops_10",
) -> Study:
    """Return a study of arms, by name, each with its members (one a seed).

    The first arm is the baseline, and Table 3 is made from it.
    """
    compared = comparison(question, arms, policy)
    baseline = compared.arms[0].members
    return Study(
        name=name,
        title=(
            f"{question} {', '.join(arms)}; {len(baseline)} seed{'s' if len(baseline) > 1 else ''}"
            " each"
        ),
        check=CheckConfig(results=table3(baseline)),
        comparisons=(compared,),
    )


STAGES: dict[str, type[StageConfig]] = {
    kind.stage: kind
    for kind in (
        PrepareConfig,
        TrainConfig,
        EvaluateConfig,
        EnsembleConfig,
        CompareConfig,
        CheckConfig,
        Study,
    )
}
