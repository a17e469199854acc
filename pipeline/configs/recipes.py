"""Named recipes: the fields of a training that belong together. Each constant is
`paper` (section) or `ours` (reason).
"""

from collections.abc import Sequence

from pipeline.configs.base import MOST_MEMBERS, StageConfig, differences
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig, PixelConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES, PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.policies import CURVE, label_of
from pipeline.paper.preprocessing import CAFFE_PREPROCESSING

TABLE_1 = NetworkConfig()  # paper, Table 1
CAFFE_PIXELS = PixelConfig.model_validate(CAFFE_PREPROCESSING._asdict())
# Caffe's quick_solver: max_iter; its train_val: batch_size
QUICK_ITERATIONS, QUICK_BATCH = 2_400_000, 32
QUICK_EPOCHS = QUICK_ITERATIONS * QUICK_BATCH / ILSVRC2012_IMAGES["train"]
WIDER = 1.25  # ours: the paper's seventh member is "wider" (section 7), by how much it does not say
SEEDS = ("init_seed", "data_seed")


def paper(
    data: PrepareConfig, num_epochs: float = 250, network: NetworkConfig = TABLE_1
) -> TrainConfig:
    """The recipe of section 6, with what it leaves open taken from its closest kin.

    paper: momentum 0.9, x0.96 every 8 epochs, Polyak averaging, patches of 8 to 100 %
    area and aspect 3/4 to 4/3, random interpolation, photometric distortions. ours:
    Caffe's rate, batch and weight decay, 250 epochs.

    ours, by trial: pixels divided by their deviation, and Kaiming's weights, which are
    made for them. Of 5b's pooled signal at the start 24 % differs between images (share
    of the root mean square; tests/paper/test_initialisation.py); with Caffe's weights
    2 %, with Caffe's weights and pixels 10 %. After 1,562 steps of this recipe at 56 px
    (experiments/pixels.py) the main loss was 5.035, 5.300 and 5.293, where chance is
    5.298: only the first had begun to learn. The last began after some 1,700 steps
    (5.122 after 3,200).
    """
    return TrainConfig(
        data=data,
        network=network,
        num_epochs=num_epochs,
        init="kaiming",
        pixels=PixelConfig(),
        learning_rate=0.01,
        schedule="paper",
        averaging_decay=0.9999,
        photometric=True,
    )


def caffe_quick(
    data: PrepareConfig, num_epochs: float = QUICK_EPOCHS, network: NetworkConfig = TABLE_1
) -> TrainConfig:
    """Caffe's quick recipe (BVLC's models/bvlc_googlenet, 31.3 % top-1 and 11.1 % top-5
    error): every constant of quick_solver.prototxt and train_val.prototxt.

    There is no other augmentation, and no averaging: `raw` weights, at the centre of
    the image warped to 256 x 256 (`CropsConfig(aspect="warped")`), are what BVLC
    evaluated. ours, as the files do not say: the kernel of the warp; a new order in
    every epoch, where Caffe reads its database in one.
    """
    return TrainConfig(
        data=data,
        network=network.but(dropout=0.4, aux_dropout=0.7),  # train_val: drop_7x7_s1, drop_fc
        num_epochs=num_epochs,
        global_batch_size=QUICK_BATCH,
        learning_rate=0.01,  # quick_solver: base_lr
        schedule="poly",  # quick_solver: lr_policy
        poly_power=0.5,  # quick_solver: power
        momentum=0.9,  # quick_solver
        momentum_form="velocity",  # Caffe's SGDSolver
        weight_decay=2e-4,  # quick_solver
        bias_rate=2,  # train_val: lr_mult
        bias_decay=0,  # train_val: decay_mult
        aux_weight=0.3,  # train_val: loss_weight
        init="caffe",  # train_val: weight_filler, bias_filler
        pixels=CAFFE_PIXELS,  # train_val: mean_value
        # train_val: crop_size, mirror; the warp is that of Caffe's guide to ImageNet
        sampling="warped",
    )


def aux_heads(run: TrainConfig) -> dict[str, TrainConfig]:
    """A training with both auxiliary heads, as in the paper, without any, and with
    either.
    """
    heads: dict[str, tuple[str, ...]] = {
        "both": ("4a", "4d"),
        "none": (),
        "4a": ("4a",),
        "4d": ("4d",),
    }
    return {
        name: run.but(network=run.network.but(aux_heads=chosen)) for name, chosen in heads.items()
    }


def crop_counts(members: Sequence[EvaluateConfig]) -> tuple[CompareConfig, CompareConfig]:
    """Compare every number of crops with a single one, and the largest probability over
    crops with the mean, for the same members (paper, section 7).
    """

    def asked(question: str, policies: Sequence[str]) -> CompareConfig:
        arms = [
            Arm(name=label_of(policy), members=tuple(members), policy=policy) for policy in policies
        ]
        return CompareConfig(question=question, arms=tuple(arms))

    number = asked("Do more crops make fewer errors?", CURVE)
    return number, asked(
        "Is the maximum over crops as good as their mean?", ("crops_144", "crops_144_max")
    )


def seven_members(base: TrainConfig, members: int = 7) -> tuple[TrainConfig, ...]:
    """The ensemble of section 7: equal initial weights (same `init_seed`), other
    sampling and order (`data_seed`); the last of seven is the wider one.

    Raises:
        InputError: there are more than an ensemble's most.
    """
    if members > MOST_MEMBERS:
        raise InputError(f"{members} members: expected at most {MOST_MEMBERS}")
    runs = [base.but(data_seed=seed) for seed in range(members)]
    if members == 7:
        runs[-1] = runs[-1].but(network=base.network.but(width=WIDER * base.network.width))
    return tuple(runs)


def arm_of(config: StageConfig) -> str:
    """The arm of an ablation that an artefact belongs to: in what its training (the
    first, of several) differs from the defaults, seeds and data aside.

    >>> images = PrepareConfig(source="digits", name="digits")
    >>> one_head = NetworkConfig(aux_heads=("4a",))
    >>> arm_of(TrainConfig(data=images, network=one_head, num_epochs=9, data_seed=3))
    'aux_heads=4a num_epochs=9'
    """
    if isinstance(config, TrainConfig):
        return " ".join(differences(config, without=SEEDS))
    return next(filter(None, map(arm_of, config.inputs)), "")
