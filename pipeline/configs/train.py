"""A training: its data, its network, its steps."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.configs.base import StageConfig
from pipeline.configs.network import (
    AnyNetwork,
    InitialWeights,
    NetworkConfig,
    PixelConfig,
    Precision,
)
from pipeline.configs.optimizer import (
    MOST_STEPS,
    OPTIMIZER,
    LocalSGDConfig,
    refuse_contradictions,
)
from pipeline.configs.other_network import Arguments, OtherNetwork
from pipeline.configs.patches import PatchConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.paper.augmentation import Sampling

# ours: the most of what is counted; more is a slip of the hand, and would run for ever
# or fill the memory
MOST_EPOCHS, MOST_IMAGES = 100_000, 1_000_000
LARGEST_SEED = 2**63 - 1  # ours: what torch's generators take


class TrainConfig(StageConfig):
    """One training run. Fields without a comment are `paper`, sections 5 and 6.

    `max_device_batch_size` is what fits the memory of a rank: a larger share of the
    global batch is accumulated. Ranks and accumulation change no more than the order of
    sums and which units dropout drops (and what a batch is to batch norm).
    """

    stage: ClassVar[str] = "train"
    room: ClassVar[str] = "runs"
    last_file: ClassVar[str] = "run.json"
    has_ranks: ClassVar[bool] = True
    has_job: ClassVar[bool] = True
    artifact_type: ClassVar[str] = "model"
    scratch: ClassVar[tuple[str, ...]] = ("checkpoints",)
    kept: ClassVar[tuple[str, ...]] = ("metrics.jsonl",)
    resources: ClassVar[frozenset[str]] = frozenset(
        {"max_device_batch_size", "checkpoint_every_seconds", "checkpoint_every_steps"}
    )
    # 2: pools and local response norms by an operator; 3: patches resized by torch
    version: Literal[3] = 3
    data: PrepareConfig
    """The data set; its train split is trained on, its val split validates."""
    network: AnyNetwork = NetworkConfig()
    """The shape of a GoogLeNet, or another network."""
    pixels: PixelConfig = PixelConfig()  # ours; see paper/preprocessing.py
    """How a pixel enters the network."""
    # ours: the paper is silent; see paper/initialisation.py
    init: Literal["kaiming", "caffe", "gaussian", "own"] = "kaiming"
    """How weights begin; those of another network as its library draws them: own."""
    begin: InitialWeights | None = None  # ours: off; the paper draws all weights
    """A file of weights to begin with, in place of a draw."""
    frozen: tuple[str, ...] = ()  # ours: none
    """Modules or weights that do not learn, by name."""
    rates: tuple[tuple[str, Annotated[float, Field(gt=0)]], ...] = ()  # ours: none
    """Modules or weights with a rate of their own: names, and factors on the rate."""
    # the paper's members share their initial weights ...
    init_seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the initial weights."""
    # ... and differ in sampling and order
    data_seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the order, the patches and dropout."""
    num_epochs: float = Field(gt=0, le=MOST_EPOCHS)
    """Length, in passes over the training images; parts of one count too."""
    # ours: Caffe's author reports that the authors used 32
    global_batch_size: int = Field(default=32, gt=0, le=MOST_IMAGES)
    """Images a step, over all ranks."""
    learning_rate: float = Field(default=0.01, gt=0)  # ours: Caffe's
    """Step size at the start."""
    schedule: Literal["paper", "exponential", "cosine", "poly"] = "paper"
    """How the rate falls: x0.96 every 8 epochs, other steps, a cosine, or a power."""
    # ours: as `paper`; other networks have other steps
    decay_factor: float = Field(default=0.96, gt=0, le=1)
    """What a step of the schedule `exponential` leaves of the rate."""
    decay_epochs: float = Field(default=8.0, gt=0, le=MOST_EPOCHS)
    """Epochs between two steps of `exponential`."""
    poly_power: float = Field(default=0.5, gt=0)  # Caffe's: of `poly`
    """Exponent of the schedule `poly`."""
    # ours: a deep network without batch norm starts badly at full rate
    warmup_epochs: float = Field(default=0.0, ge=0, le=MOST_EPOCHS)
    """Epochs in which the rate grows from zero."""
    # ours: LARS (1708.03888, timm's) is for batches of thousands
    optimizer: str = Field(default="sgd", pattern=OPTIMIZER)
    """sgd, lars for very large batches, or timm:NAME, any of timm's."""
    optimizer_arguments: Arguments = ()
    """What an optimiser of timm's takes beside rate, decay and momentum, by name."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step that the next one keeps."""
    # ours: torch's, where the rate multiplies the momentum too; `velocity` is Caffe's
    # (src/caffe/solvers/sgd_solver.cpp), where the rate of each step stays in it
    momentum_form: Literal["gradient", "velocity"] = "gradient"
    """Whether the rate multiplies the momentum too."""
    weight_decay: float = Field(default=2e-4, ge=0)  # ours: Caffe's
    """Factor of the weights that is added to their gradient."""
    # ours; of biases and batch norm's weights: Caffe's is 2
    bias_rate: float = Field(default=1.0, gt=0)
    """Factor on the rate, for biases."""
    bias_decay: float = Field(default=0.0, ge=0)  # ours: Caffe's
    """Factor on the decay, for biases."""
    clip_norm: float | None = Field(default=None, gt=0)  # ours: gradient clipping, off
    """Largest norm of a gradient; longer ones are scaled down to it."""
    local_sgd: LocalSGDConfig | None = None  # ours: off; see LocalSGDConfig
    """Ranks that train on their own and average now and then."""
    # ours: Polyak's average as an EMA, Google's later choice
    averaging_decay: float = Field(default=0.9999, ge=0, lt=1)
    """Share of the average of the weights that a step keeps."""
    averaging: Literal["exponential", "equal"] = "exponential"  # ours: the paper does not say which
    """An average that forgets, or one of equal weights."""
    # ours: the paper does not say when
    averaging_start_epoch: float = Field(default=0.0, ge=0, le=MOST_EPOCHS)
    """Epoch at which the average begins."""
    aux_weight: float = Field(default=0.3, ge=0)
    """Factor on the loss of each auxiliary head."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # ours: off
    """Share of a label's weight that is spread over all classes."""
    sampling: Sampling = "inception"
    """How training patches are cut."""
    # paper: Howard's were useful "to some extent"; ours: off here, on in recipes.py
    photometric: bool = False
    """Distort brightness, contrast and colour of patches."""
    min_area: float = Field(default=0.08, gt=0, le=1)
    """Smallest area of a patch, as a share of the image's."""
    # ours: 0 samples images alike, 1 samples classes alike
    class_balance: float = Field(default=0.0, ge=0, le=1)
    """How evenly classes are sampled, from 0 to 1."""
    patches: PatchConfig = PatchConfig()  # ours; see PatchConfig
    """How patches become pixels."""
    precision: Precision = "fp32"  # ours: the paper does not say
    """Number format of the arithmetic; weights stay fp32."""
    compiled: bool = False  # torch.compile: other roundings
    """Run the network through torch.compile."""
    max_device_batch_size: int | None = Field(default=None, gt=0, le=MOST_IMAGES)
    """Most images that a rank computes at once."""
    # ours; the best weights are chosen among these
    validate_every_epochs: float = Field(default=1.0, gt=0, le=MOST_EPOCHS)
    """Epochs between two validations."""
    checkpoint_every_seconds: float = Field(default=60.0, ge=0)
    """Seconds between two checkpoints."""
    checkpoint_every_steps: int | None = Field(default=None, gt=0, le=MOST_STEPS)
    """Steps between two checkpoints, in place of seconds."""

    @model_validator(mode="before")
    @classmethod
    def _others_draw_their_own(cls, fields: Any) -> Any:
        """Let another network draw its weights where nothing else is asked for."""
        if not isinstance(fields, dict) or "init" in fields:
            return fields
        network = fields.get("network")
        is_other = isinstance(network, OtherNetwork) or (
            isinstance(network, dict) and "arch" in network
        )
        return fields | ({"init": "own"} if is_other else {})

    @model_validator(mode="after")
    def _has_one_init(self) -> "TrainConfig":
        if (self.init == "own") != (self.shape is None):
            expected = "kaiming, caffe or gaussian" if self.shape else "own"
            raise ValueError(f"init {self.init} of {self.network.arch}: expected {expected}")
        return self

    @model_validator(mode="after")
    def _has_one_optimizer(self) -> "TrainConfig":
        refuse_contradictions(
            self.optimizer,
            self.optimizer_arguments,
            self.momentum_form,
            self.local_sgd,
        )
        return self

    @model_validator(mode="after")
    def _distorts_after_decoding(self) -> "TrainConfig":
        patches = self.patches
        if self.photometric and patches.decode_on == "device" and patches.distort_on == "loader":
            raise ValueError(
                "patches.decode_on device with photometric distortions: the loader has no pixels to"
                " distort; expected patches.distort_on device"
            )
        return self

    @model_validator(mode="after")
    def _has_one_scaler(self) -> "TrainConfig":
        if self.precision == "fp16" and self.local_sgd:
            raise ValueError(
                "precision fp16: not with local_sgd, whose workers would each scale their losses"
                " otherwise; bf16 needs no scale"
            )
        return self

    def ranks_up_to(self, most: int) -> list[int]:
        """The numbers of ranks that can train as the config says: as many as local SGD
        has workers, else those that share a global batch equally, up to `most`.
        """
        if self.local_sgd:
            return [self.local_sgd.workers]
        return [n for n in range(1, most + 1) if self.global_batch_size % n == 0]

    def refuse_ranks(self, number: int) -> None:
        """Raise InputError if so many ranks cannot train as the config says."""
        if self.local_sgd and self.local_sgd.workers != number:
            raise InputError(
                f"local_sgd.workers {self.local_sgd.workers} is not the number of ranks, {number}"
            )
        if self.global_batch_size % number:
            raise InputError(
                f"global_batch_size {self.global_batch_size} cannot be shared equally by {number}"
                " ranks"
            )

    @property
    def settles_every(self) -> int:
        """Steps from one to the next after which all ranks hold the same weights."""
        return self.local_sgd.steps if self.local_sgd else 1

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.network.input_size

    @property
    def shape(self) -> NetworkConfig | None:
        """The shape of a GoogLeNet; None for any other network."""
        return self.network if isinstance(self.network, NetworkConfig) else None

    @property
    def arch(self) -> str:
        """The name of the network."""
        return self.network.arch

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the network's outputs in training, each with a loss."""
        return ("main", *self.network.heads)

    @property
    def label(self) -> str:
        """Name the run for people."""
        return f"run {self.hash}"
