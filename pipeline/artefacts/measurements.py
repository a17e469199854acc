"""benchmarks/<hash>/: the results of each benchmark.

Speeds are in images a second. `times_<peer>` say how many times as fast as a peer: they
are ratios within a round. Time is the clock's, unless a name says CPU: that is the time
of a contender's own process on its cores, which other work of the machine hardly
changes.
"""

from pipeline.artefacts.facts import Facts, Sealed

Quartiles = tuple[float, float, float]  # lower quartile, median, upper quartile


class CpuTime(Facts):
    """The CPU time of an image, and the ratios of CPU times."""

    seconds: Quartiles
    times_naive: Quartiles
    times_naive_tuned: Quartiles | None = None
    times_careful_compiled: Quartiles | None = None


class Classification(Facts):
    """All measurements of one way to classify the 144 crops of an image.

    A ratio is None where its peer took no part. `batch` is the number of crops that
    pass the network together.
    """

    text: str
    seconds: Quartiles
    preprocessing_seconds: Quartiles
    images_per_second: Quartiles
    crops_per_second: Quartiles
    times_naive: Quartiles
    times_careful_compiled: Quartiles | None = None
    preprocessing_times_naive: Quartiles
    preprocessing_share: Quartiles
    share_of_peak: Quartiles
    largest_difference: float
    share_of_bound: Quartiles | None
    # the naive peer with our settings of the allocator; older files lack it and these
    times_naive_tuned: Quartiles | None = None
    cpu: CpuTime | None = None  # None on a GPU, too
    batch: int | None = None


class Lead(Facts):
    """How many times as fast as the fastest peer of its precision one of ours is."""

    peer: str
    times: Quartiles
    cpu_times: Quartiles | None  # None on a GPU


class EvaluateFacts(Facts):
    """The results of `benchmark evaluate`."""

    input_size: int
    rounds: int
    num_images: int
    gflop_per_image: float
    peak_gflops: dict[str, Quartiles]
    contenders: dict[str, Classification]
    speed_beside_a_busy_process: Quartiles | None = None  # None without ours
    cores: int
    allocator: dict[str, str] | None = None  # our settings
    device: str | None = None  # its model; None in artefacts of earlier versions
    width: float = 1.0
    leads: dict[str, Lead] | None = None  # by the name of ours; older files lack it


class Storing(Facts):
    """The measurements of one way to get images into shards.

    `share` is its speed over the speed that disk and hash allow.
    """

    text: str
    images_per_second: Quartiles
    megabytes_per_second: Quartiles
    share: Quartiles


class PrepareFacts(Facts):
    """The results of `benchmark prepare`."""

    rounds: int
    num_images: int
    num_bytes: int
    contenders: dict[str, Storing]


class Training(Facts):
    """The measurements of one way to train, or to load images."""

    text: str
    images_per_second: Quartiles
    images_per_cpu_second: Quartiles | None = None  # None on a GPU, and in older files


class TrainFacts(Facts):
    """The results of `benchmark train`.

    `cpu` has the ratios of CPU time, by the names of those of time on the clock.
    """

    input_size: int
    rounds: int
    batch: int
    contenders: dict[str, Training]
    step_times_torchvision: Quartiles
    step_fp32_times_torchvision: Quartiles
    step_times_torchvision_switched: Quartiles
    loader_times_peer: Quartiles
    overhead_of_loading: Quartiles
    allocator: dict[str, str] | None = None  # our settings
    device: str | None = None  # its model; None in artefacts of earlier versions
    # peers with these settings; older files lack them
    step_times_torchvision_tuned: Quartiles | None = None
    step_fp32_times_torchvision_tuned: Quartiles | None = None
    loader_times_peer_tuned: Quartiles | None = None
    width: float = 1.0
    cpu: dict[str, Quartiles] | None = None  # None on a GPU, and in older files


class ScalingPoint(Facts):
    """The measurements of so many ranks with so many images each.

    `seconds` are of a step; `apart_seconds` without the sum of gradients over the
    ranks; `fed_seconds` of a step with its loader. `loader_images_per_second` is of one
    rank's loader alone.
    """

    ranks: int
    images: int
    seconds: Quartiles
    apart_seconds: Quartiles
    fed_seconds: Quartiles
    loader_images_per_second: Quartiles


class HeldOut(Facts):
    """A measurement that the model has not seen, beside its prediction."""

    ranks: int
    images: int
    seconds: float
    predicted: float


class ScalingFacts(Facts):
    """The results of `benchmark scaling`.

    `model` has the constants of statistics/scaling.py. `gflop_per_image` is of a
    training step, three times the forward pass. `loaders` is the number of processes
    that load for a rank. `crops_per_second` is an evaluation's network, on one rank.
    """

    input_size: int
    rounds: int
    kind: str  # of device: core or GPU
    device: str  # its model
    loaders: int
    gradient_bytes: int
    points: list[ScalingPoint]
    model: tuple[float, float, float, float]
    held_out: HeldOut | None
    gflop_per_image: float
    peak_gflops: float
    crops_per_second: Quartiles
    peers: dict[str, Quartiles]


class SealedScaling(Sealed, ScalingFacts):
    """The file benchmark.json of `benchmark scaling`."""


class SealedEvaluate(Sealed, EvaluateFacts):
    """The file benchmark.json of `benchmark evaluate`."""


class SealedPrepare(Sealed, PrepareFacts):
    """The file benchmark.json of `benchmark prepare`."""


class SealedTrain(Sealed, TrainFacts):
    """The file benchmark.json of `benchmark train`."""
