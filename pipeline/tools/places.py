"""What each stage of a study is for, in words: its member, its arms, its seed."""

from pipeline.configs.base import StageConfig
from pipeline.configs.compare import CompareConfig, EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.paper.policies import in_crops, label_of


def places(study: Study) -> dict[str, str]:
    """Return the place of each stage in its study, by hash."""
    words: dict[str, list[str]] = {}

    def add(member: EvaluateConfig, text: str) -> None:
        for part in (member, member.classifier):
            known = words.setdefault(part.hash, []) if isinstance(part, StageConfig) else []
            if text not in known:
                known.append(text)

    for result in study.check.results:
        for number, member in enumerate(result.members, start=1):
            add(member, f"member {number} of {len(result.members)}")
    for compared in study.comparisons:
        shared = set(compared.arms[0].members).intersection(*(arm.members for arm in compared.arms))
        for arm in compared.arms:
            for member in arm.members:
                if member not in shared:  # arms that differ in their crops share their members
                    add(member, f"arm {arm.name}")
    return {config.hash: "; ".join(_of(config, words)) for config in study.stages}


def _of(config: StageConfig, words: dict[str, list[str]]) -> list[str]:
    match config:
        case PrepareConfig():
            return [config.name]
        case TrainConfig():
            return [*words.get(config.hash, []), f"seed {config.data_seed}"]
        case EvaluateConfig():
            seeds = [config.classifier] if isinstance(config.classifier, TrainConfig) else []
            return [*words.get(config.hash, []), *(f"seed {run.data_seed}" for run in seeds)]
        case EnsembleConfig():
            models = f"{config.num_models} model{'s' if config.num_models > 1 else ''}"
            return [f"{models}, {in_crops(label_of(config.policy))}"]
        case CompareConfig():
            return [config.question]
    return []


def sharing(study: Study) -> str:
    """Say how many trainings a study takes, and how many its questions would take if
    each were a study of its own.
    """
    members = {member.hash for result in study.check.results for member in result.members}
    arms = [
        {member.hash for member in arm.members}
        for compared in study.comparisons
        for arm in compared.arms
    ]
    # the results of an arm are no question of their own
    questions = [] if members in arms else [members]
    questions += [{member.hash for member in compared.inputs} for compared in study.comparisons]
    runs = {
        config.hash: config.classifier.hash
        for config in study.stages
        if isinstance(config, EvaluateConfig) and isinstance(config.classifier, TrainConfig)
    }
    sets = {frozenset(runs[name] for name in names if name in runs) for names in questions}
    total = sum(isinstance(config, TrainConfig) for config in study.stages)
    text = f"{total} training{'s' if total != 1 else ''}"
    return (
        f"{text}; each question by itself would take {sum(map(len, sets))} in all"
        if study.comparisons
        else text
    )
