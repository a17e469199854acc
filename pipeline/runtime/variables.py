"""Variables and files of the environment that could change a number.

They could do so although the config and its hash stay the same. A table says how each
is treated. It comes from a search of what these read: the sources of torch, accelerate,
timm, torchvision, datasets, huggingface_hub, numpy, scipy, scikit-learn, Pillow and
pyarrow, and the strings of torch's libraries (oneDNN, MKL, OpenMP, FBGEMM, Gloo),
cuBLAS, cuDNN, NCCL, OpenBLAS, libjpeg-turbo and glibc. A new variable of a library
needs no line here: all variables with its prefix are recorded.
"""

import os
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

from pipeline.errors import InputError
from pipeline.runtime.environment import PROCESS_ENVIRONMENT, is_secret

# refused: the variable would contradict the config; an error names it, unless its value
#     is one of `valid`.
# pinned: the product's own setting wins where it counts; the variable is recorded too.
# recorded: it may change last bits, as another machine may; each artefact records it.
# harmless: it cannot change a number.
Treatment = Literal["refused", "pinned", "recorded", "harmless"]
OFF = ("0", "false", "no", "off", "f", "n", "")  # as accelerate and torch read it


class Variable(NamedTuple):
    """The treatment of the variables whose names match a pattern, and its reason.

    If several patterns match, the first counts.
    """

    pattern: str
    treatment: Treatment
    why: str
    valid: tuple[str, ...] = ()  # in lower case; the first is shown


PRECISION, PRODUCTS = "ACCELERATE_MIXED_PRECISION", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"
SWITCH = "NVIDIA_TF32_OVERRIDE"
AUTOCAST = "accelerate would compute in this precision, and the config says another"
PLUGIN = "accelerate would train by another scheme than the config says"
UNREAD = "read only under a plugin or a precision that is refused"
TF32 = "float32 would be computed in fewer bits, and the config says fp32"
PLACE = "says where files lie; their content is known by digest"
TRACKING = "changes what is shown or tracked, no arithmetic"
SPREAD = "says who works where: randomness is stateless, and the number of ranks is recorded"
MACHINE = "chooses instructions, algorithms or the order of sums: last bits"

SECRET = Variable("a secret, by its name", "harmless", "a secret is never written down")

TABLE = (
    SECRET,
    # accelerate; `accelerate launch` sets them from options and default_config.yaml
    Variable(PRECISION, "refused", AUTOCAST, ("no", "")),
    Variable(
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
        "refused",
        "accelerate would divide the loss by it; max_device_batch_size is ours",
        ("1", ""),
    ),
    Variable(
        "ACCELERATE_DYNAMO_BACKEND",
        "refused",
        "accelerate would compile; the config's compiled says whether",
        ("no", ""),
    ),
    Variable("ACCELERATE_TORCH_DEVICE", "refused", "CUDA_VISIBLE_DEVICES chooses", ()),
    Variable("ACCELERATE_USE_CPU", "harmless", "obeyed, and the device is recorded"),
    Variable("ACCELERATE_USE_*", "refused", PLUGIN, OFF),
    Variable("ACCELERATE_DOWNCAST_BF16", "refused", TF32, OFF),
    Variable("ACCELERATE_DYNAMO_*", "harmless", UNREAD),
    Variable("ACCELERATE_FP8_*", "harmless", UNREAD),
    Variable("ACCELERATE_DEEPSPEED_*", "harmless", UNREAD),
    Variable("ACCELERATE_CONFIG_DS_FIELDS", "harmless", UNREAD),
    Variable("ACCELERATE_GRADIENT_CLIPPING", "harmless", UNREAD),
    Variable("FSDP_*", "harmless", UNREAD),
    Variable("MEGATRON_LM_*", "harmless", UNREAD),
    Variable("PARALLELISM_CONFIG_*", "harmless", UNREAD),
    Variable("ACCELERATE_LOG_LEVEL", "harmless", TRACKING),
    Variable("ACCELERATE_DEBUG_MODE", "harmless", "compares shapes before they are gathered"),
    Variable("ACCELERATE_CPU_AFFINITY", "harmless", SPREAD),
    Variable("ACCELERATE_*", "recorded", MACHINE),
    # torch's ranks; SLURM
    Variable("TORCHELASTIC_*", "harmless", SPREAD),
    Variable("TORCH_NCCL_*", "harmless", "how long a rank waits for others, and its log"),
    Variable("CUDA_VISIBLE_DEVICES", "harmless", "the device is recorded"),
    Variable("CUDA_MODULE_LOADING", "harmless", "when kernels are loaded, not which"),
    # float32 on a GPU, and on a CPU
    Variable(PRODUCTS, "refused", TF32, OFF),
    Variable(SWITCH, "refused", TF32, OFF),
    Variable("CUBLAS_EMULATE_SINGLE_PRECISION", "refused", TF32, OFF),
    Variable("ONEDNN_DEFAULT_FPMATH_MODE", "refused", TF32, ("strict", "")),
    Variable("DNNL_DEFAULT_FPMATH_MODE", "refused", TF32, ("strict", "")),
    # threads
    Variable("OMP_NUM_THREADS", "pinned", "a rank on a CPU has one thread"),
    Variable("MKL_NUM_THREADS", "pinned", "a rank on a CPU has one thread"),
    Variable("OMP_WAIT_POLICY", "harmless", "how threads wait"),
    Variable("GOMP_SPINCOUNT", "harmless", "how threads wait"),
    # what is compiled
    Variable("TORCHINDUCTOR_CACHE_DIR", "harmless", PLACE),
    Variable("TORCHINDUCTOR_COMPILE_THREADS", "harmless", "how many compile, not what"),
    # images
    Variable("JPEGMEM", "harmless", "memory of a decoder"),
    Variable("PILLOW_*", "harmless", "blocks of memory"),
    # data sets
    Variable("HF_*", "harmless", PLACE),
    Variable("HUGGING*", "harmless", PLACE),
    Variable("DATASETS_*", "harmless", TRACKING),
    # Python
    Variable("PYTHONPATH", "recorded", "chooses the code; its versions are recorded too"),
    Variable("PYTHONHASHSEED", "harmless", "no number follows the order of a set"),
    Variable("PYTHONOPTIMIZE", "harmless", "no assert guards a number"),
    Variable("PYTHON*", "harmless", "speed, encodings and messages; JSON is written as ASCII"),
    Variable("LC_*", "harmless", "numbers are written and sorted by Python, without a locale"),
    Variable("LANG*", "harmless", "as LC_*"),
    Variable("TZ", "harmless", "times are UTC, and no number follows one"),
    Variable("WANDB_*", "harmless", TRACKING),
    Variable("GOING_DEEPER_*", "harmless", "the command, which is recorded"),
    # glibc and the loader
    Variable("GLIBC_TUNABLES", "recorded", "chooses the instructions of exp and log"),
    Variable("LD_PRELOAD", "recorded", "replaces any library"),
    Variable("LD_LIBRARY_PATH", "recorded", "replaces any library"),
    Variable("MALLOC_*", "harmless", "where memory lies"),
    Variable("CXX", "recorded", "builds our operators and what is compiled"),
    Variable("TRITON_CACHE_DIR", "harmless", PLACE),
    # whatever else a library that computes may read
    *(
        Variable(f"{prefix}*", "recorded", MACHINE)
        for prefix in (
            "TORCH", "PYTORCH_", "AOT", "TRITON_", "PARTITIONER_",  # torch and its compiler
            "INDUCTOR_", "TENSORIFY_", "SPLITTER_", "CUTLASS_", "CUTEDSL_", "ENABLE_T",
            "ENABLE_PERSISTENT_", "ENABLE_HOST_SIDE_", "HELION_", "QUACK_",
            "ATEN_", "ONEDNN_", "DNNL_", "MKL", "FBGEMM_", "XNNPACK_",  # its CPU
            "CUBLAS", "CUDNN_", "CUDA_", "NVIDIA_", "DISABLE_ADDMM_",  # its GPU
            "MIOPEN_", "ROCBLAS_", "HIPBLASLT_", "HSA_",  # AMD's
            "NCCL_", "GLOO_",  # its ranks
            "OMP_", "KMP_", "GOMP_", "OPENBLAS_", "GOTO_", "BLIS_",  # threads and BLAS
            "NPY_", "NUMPY_", "SCIPY_", "SKLEARN_", "ARROW_", "TIMM_", "JSIMD_",
        )
    ),
)  # fmt: skip

# what a variable may also be where all stages compute in one precision
AGREEING: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bf16": {PRECISION: ("bf16",)},
    "fp16": {PRECISION: ("fp16",)},
    "tf32": {PRODUCTS: ("1", "true", "yes", "on", "t", "y")},
}

# accelerate's default_config.yaml is read by `accelerate launch` alone, into variables
FILES = ("/etc/nccl.conf", "~/.nccl.conf")


def treatment(name: str) -> Variable | None:
    """Return the table's line for a variable; None where no library reads it."""
    if is_secret(name):
        return SECRET
    return next((line for line in TABLE if fnmatchcase(name, line.pattern)), None)


def refuse_contrary(precisions: Collection[str], environment: Mapping[str, str]) -> None:
    """Refuse variables that contradict the precisions of the configs.

    Raises:
        InputError: a variable contradicts them; the message names the first one, its
            value, and what is valid.
    """
    agreeing = AGREEING.get("".join(precisions), {})  # of one precision
    if "tf32" in precisions and environment.get(SWITCH, "").strip():
        raise InputError(
            f"{SWITCH}={environment[SWITCH]}: overrides the precision of each call, and the config"
            " says tf32; expected it unset"
        )
    for name, value in sorted(environment.items()):
        line = treatment(name)
        if line is None or line.treatment != "refused":
            continue
        also = agreeing.get(name, ())
        if value.strip().lower() not in (*line.valid, *also):
            expected = " or ".join(["it unset", *line.valid[:1], *also[:1]])
            raise InputError(f"{name}={value}: {line.why}; expected {expected}{_origin(name)}")


def _origin(name: str) -> str:
    setter = " (accelerate launch sets it from an option, or from default_config.yaml)"
    return setter if name.startswith("ACCELERATE_") else ""


def recorded(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables and files that may change last bits, by name.

    Variables count if their value is not the product's own. A file has its content.
    """
    variables = os.environ if environment is None else environment
    values = {
        name: value
        for name, value in sorted(variables.items())
        if (line := treatment(name)) is not None
        and line.treatment in ("pinned", "recorded")
        and PROCESS_ENVIRONMENT.get(name) != value
    }
    for file in FILES:
        path = Path(file).expanduser()
        if path.is_file():
            values[file] = path.read_text(errors="replace")
    return values
