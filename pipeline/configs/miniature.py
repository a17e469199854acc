"""The paper's questions in miniature: a training of one hour on a CPU core, and the
studies of it.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import Signature, signature
from typing import Annotated, Any, Concatenate

from pipeline.configs.base import MOST_MEMBERS, Count
from pipeline.configs.compare import CompareConfig, comparison
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig, Precision
from pipeline.configs.options import Data, DataName, Epochs, Seeds
from pipeline.configs.prepare import PrepareConfig, name_of
from pipeline.configs.study import Study, ablation
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.policies import CURVE

Independent = Annotated[Count, "Members that draw initial weights of their own, beside the others."]
Arms = Annotated[
    str | None, "Names of arms with commas between; the first is the baseline.  [default: all]"
]
MINIATURE_POLICIES = (*CURVE, "crops_144_max")


def miniature(
    data: Data = None,
    name: DataName = None,
    epochs: Epochs = 70,
    width: Annotated[float, "Factor on the channels of every layer."] = 0.5,
    precision: Precision = "fp32",
) -> TrainConfig:
    """Return a training for a CPU: half the width, at 112 px, on a folder of
    photographs, such as Caltech-101. `name` is what the data are called; by default as
    their folder is.

    On one core of an Intel Xeon with AMX, 24 epochs of 7,000 photographs took 19
    minutes in bf16. A processor without bf16 instructions emulates them and is some ten
    times as slow, so fp32 is the default.

    All constants are ours:

    - width and input size, for a sixteenth of the cost;
    - a cosine schedule, as a short training must end at a small learning rate;
    - an average of the weights over some two epochs;
    - clipping, as the steps of a network without batch norm are uneven;
    - a small learning rate: after 6 epochs 62 % top-5 errors, and 72 % at 0.03;
    - large patches, as the objects fill these photographs: after 5 epochs 62 % errors,
      and 65 % with patches of at least 20 % of an image;
    - a sampling between "images alike" and "classes alike", as validation has the same
      number of each class.
    """
    return TrainConfig(
        data=PrepareConfig(source="imagefolder", name=name_of(data, name, "caltech101"), path=data),
        network=NetworkConfig(input_size=112, width=width),
        num_epochs=epochs,
        learning_rate=0.01,
        schedule="cosine",
        warmup_epochs=1,
        averaging_decay=0.998,
        clip_norm=5.0,
        min_area=0.35,
        class_balance=0.5,
        precision=precision,
        validate_every_epochs=6,
    )


def of_miniature(
    experiment: Callable[Concatenate[TrainConfig, ...], Study],
) -> Callable[..., Study]:
    """Give an experiment the options of `miniature` beside its own.

    They define the training that becomes the first argument of the experiment.
    """
    shared, (_, *own) = (
        signature(function, eval_str=True).parameters.values()
        for function in (miniature, experiment)
    )
    names = [option.name for option in shared]

    def with_options(**options: Any) -> Study:
        base = miniature(**{name: options.pop(name) for name in names if name in options})
        return experiment(base, **options)

    with_options.__signature__ = Signature([*shared, *own])  # type: ignore[attr-defined]
    return with_options


def miniature_members(
    run: TrainConfig, seeds: int, independent: bool = False
) -> tuple[EvaluateConfig, ...]:
    """Return a member for each seed of a miniature training, evaluated at every number
    of crops in one pass.

    As in the paper the members share their initial weights. `independent` members draw
    their own.

    Raises:
        InputError: `seeds` is less than 1, or more than an ensemble's most.
    """
    if not 1 <= seeds <= MOST_MEMBERS:
        raise InputError(f"{seeds} members: expected at least 1, at most {MOST_MEMBERS}")
    runs = [
        run.but(data_seed=seed, init_seed=run.init_seed + independent * (1 + seed))
        for seed in range(seeds)
    ]
    return tuple(
        EvaluateConfig(
            data=run.data, classifier=each, policies=MINIATURE_POLICIES, precision=run.precision
        )
        for each in runs
    )


def miniature_arms(
    trainings: Mapping[str, TrainConfig], seeds: int, independent: bool = False
) -> dict[str, tuple[EvaluateConfig, ...]]:
    """Return the members of each arm, by name.

    Members of the first arm are evaluated at every number of crops, as Table 3 shows
    them. All others are evaluated at 1 and 10 crops, where arms are compared; that is a
    tenth of the work.
    """
    members = {arm: miniature_members(run, seeds, independent) for arm, run in trainings.items()}
    first = next(iter(members))
    return {
        arm: of_arm if arm == first else _at_few_crops(of_arm) for arm, of_arm in members.items()
    }


def _at_few_crops(members: Sequence[EvaluateConfig]) -> tuple[EvaluateConfig, ...]:
    return tuple(member.but(policies=("crops_1", "crops_10")) for member in members)


def miniature_ablation(
    name: str,
    question: str,
    arms_of: Callable[[TrainConfig], Mapping[str, TrainConfig]],
    independent: bool = False,
    raw: Sequence[str] = (),
) -> Callable[..., Study]:
    """Return the function `experiment` of an ablation in miniature.

    `arms_of` makes the arms from the training of the miniature. The arms in `raw` are
    evaluated with the weights of the last step. `independent` seeds draw initial
    weights of their own.
    """

    @of_miniature
    def experiment(base: TrainConfig, seeds: Seeds = 3, arms: Arms = None) -> Study:
        members = miniature_arms(_chosen(arms_of(base), arms), seeds, independent)
        raw_members = {
            arm: tuple(member.but(weights="raw") for member in members[arm])
            for arm in raw
            if arm in members
        }
        return ablation(name, question, members | raw_members)

    return experiment


def _chosen(trainings: Mapping[str, TrainConfig], arms: str | None) -> Mapping[str, TrainConfig]:
    """Return the arms that the option `--arms` names, in its order.

    Raises:
        InputError: the option names an unknown arm, or only one.
    """
    if arms is None:
        return trainings
    names = list(dict.fromkeys(arms.split(",")))
    if unknown := [name for name in names if name not in trainings]:
        raise InputError(f"--arms {arms}: {unknown[0]!r} is none of {', '.join(trainings)}")
    if len(names) < 2:
        raise InputError(
            f"--arms {arms}: expected at least two, of which the first is the baseline"
        )
    return {name: trainings[name] for name in names}


def same_or_independent(run: TrainConfig, seeds: int) -> tuple[CompareConfig, ...]:
    """Return comparisons of ensembles, one for each size of an ensemble.

    The members of one arm share their initial weights, as in the paper; those of the
    other draw their own.
    Each size is a question by itself: its p is not corrected for the others.

    Raises:
        InputError: `seeds` is less than 2.
    """
    if seeds < 2:
        raise InputError(
            f"{seeds} independent members: expected at least 2, as one makes no ensemble"
        )
    own = _at_few_crops(miniature_members(run, seeds, independent=True))
    arms = {"same initial weights": miniature_members(run, seeds), "their own": own}
    question = "Does it matter that an ensemble's members share their initial weights?"
    return tuple(
        comparison(f"{question} {models} model{'s' if models > 1 else ''}", arms, models=models)
        for models in range(1, seeds + 1)
    )
