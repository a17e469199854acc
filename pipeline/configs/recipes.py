"""Named recipes: the fields of a training that belong together. Each constant is
`paper` (section) or `ours` (reason).
"""

import math
from collections.abc import Sequence

from pipeline.configs.base import MOST_MEMBERS, StageConfig, differences
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import AnyNetwork, InitialWeights, NetworkConfig, PixelConfig
from pipeline.configs.patches import PatchConfig
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


def large_batch(
    data: PrepareConfig,
    num_epochs: float = 90,
    batch: int = 1024,
    network: NetworkConfig = TABLE_1,
) -> TrainConfig:
    """The recipe of section 6 for machines of today: steps of many images, in bf16.

    What differs is `ours`: the batch, with the rate and the average of `scaled`; a
    cosine over 90 epochs, as the large steps must end small; five epochs of warm-up and
    clipping, as a network without batch norm begins badly at a high rate; bf16, which
    every GPU since 2020 computes in; compiled, as eager steps wait for Python;
    distortions on the device, which frees the loader of half its work.

    The root is by trial, on Tiny ImageNet at 42 px, width 0.25, eight epochs, from 0.01
    at 32 images (90.0 % top-1 error): with 128, 512 and 2048 images a step the root
    reached 91.1, 92.7 and 95.8 %, linear scaling 90.7, 91.0 and 98.3 %. So linear is
    better up to some 512 images, and loses what is learned beyond. LARS at 2 and 4 was
    behind the root. None diverged.
    """
    recipe = paper(data, num_epochs, network).but(
        schedule="cosine",
        warmup_epochs=5,
        clip_norm=5.0,
        precision="bf16",
        compiled=True,
        patches=PatchConfig(distort_on="device"),
    )
    return scaled(recipe, batch)


def scaled(run: TrainConfig, batch: int, power: float = 0.5) -> TrainConfig:
    """Return a training with another batch, and what goes with it.

    With k times as many images a step the rate is k^power as high, and the average of
    the weights forgets k times as fast a step, so that it covers as many images.
    `power` is 1 for linear scaling and 1/2 for the root.
    """
    k = batch / run.global_batch_size
    return run.but(
        global_batch_size=batch,
        learning_rate=float(f"{run.learning_rate * k**power:.4g}"),
        averaging_decay=float(f"{run.averaging_decay**k:.6g}"),
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


def finetuning(
    data: PrepareConfig,
    network: AnyNetwork,
    pixels: PixelConfig,
    num_images: int,
    begin: InitialWeights | None = None,
    num_epochs: float | None = None,
) -> TrainConfig:
    """A training on `num_images` images of one's own, from given weights or from none.

    All constants are ours:

    - epochs so that 30,000 patches are seen from given weights, and 100,000 from none,
      in 10 and 30 epochs at least, and 100 at most: few images need many, and more of
      the same ones only fit these better;
    - batches of 32, as a small data set has few steps;
    - the rate of `miniature`, and half of it for weights that are given: they should
      move less than new ones, and the new classifier must still learn;
    - `miniature`'s cosine, warm-up, clipping, patches and sampling between images and
      classes;
    - an average of the weights over some two epochs;
    - fp32, as a processor without bf16 instructions emulates them.
    """
    patches, least = (30_000, 10) if begin else (100_000, 30)
    usual = min(100, max(least, math.ceil(patches / max(1, num_images))))
    epochs = usual if num_epochs is None else num_epochs
    batch = 32
    steps = max(1, num_images // batch)  # of an epoch
    return TrainConfig(
        data=data,
        network=network,
        pixels=pixels,
        begin=begin,
        num_epochs=epochs,
        global_batch_size=batch,
        learning_rate=0.005 if begin else 0.01,
        schedule="cosine",
        warmup_epochs=1,
        averaging_decay=round(1 - 1 / (2 * steps + 1), 4),
        clip_norm=5.0,
        min_area=0.35,
        class_balance=0.5,
        validate_every_epochs=max(1.0, epochs / 10),
        precision="fp32",
    )


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
    if members == 7 and base.shape is not None:
        runs[-1] = runs[-1].but(network=base.shape.but(width=WIDER * base.shape.width))
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
