"""No variable of the environment moves a number in silence: under each of the table the
bits are equal, it is refused, or the result says it.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from pipeline.runtime.variables import TABLE, recorded, refuse_contrary, treatment
from tests.commands import TOP, in_process

# one variable for each line of the table, with a value that changes what it can
SET = {
    # refused
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
    "ACCELERATE_DOWNCAST_BF16": "true",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "CUBLAS_EMULATE_SINGLE_PRECISION": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "DNNL_DEFAULT_FPMATH_MODE": "ANY",
    # harmless or pinned
    "HF_TOKEN": "x",
    "NCCL_SECRET_X": "x",
    "CUDA_PASSWORD": "x",
    "NVIDIA_API_KEY": "x",
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_DYNAMO_MODE": "max-autotune",
    "ACCELERATE_FP8_FORMAT": "E4M3",
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
    "ACCELERATE_CONFIG_DS_FIELDS": "zero_stage",
    "ACCELERATE_GRADIENT_CLIPPING": "0.1",
    "FSDP_OFFLOAD_PARAMS": "true",
    "MEGATRON_LM_TP_DEGREE": "2",
    "PARALLELISM_CONFIG_TP_SIZE": "2",
    "ACCELERATE_LOG_LEVEL": "info",
    "ACCELERATE_DEBUG_MODE": "true",
    "ACCELERATE_CPU_AFFINITY": "1",
    "TORCHELASTIC_RUN_ID": "7",
    "TORCH_NCCL_BLOCKING_WAIT": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "CUDA_MODULE_LOADING": "EAGER",
    "OMP_NUM_THREADS": "0",  # accelerate then chooses
    "MKL_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "active",
    "GOMP_SPINCOUNT": "100",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/elsewhere",
    "TORCHINDUCTOR_COMPILE_THREADS": "2",
    "JPEGMEM": "1000",
    "PILLOW_BLOCK_SIZE": "4096",
    "HF_DATASETS_IN_MEMORY_MAX_SIZE": "1",
    "HUGGINGFACE_HUB_CACHE": "/tmp/elsewhere",
    "DATASETS_VERBOSITY": "debug",
    "PYTHONHASHSEED": "7",
    "PYTHONOPTIMIZE": "2",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "LC_ALL": "POSIX",
    "LANG": "C",
    "TZ": "Asia/Tokyo",
    "WANDB_MODE": "disabled",
    "GOING_DEEPER_COMMAND": "going-deeper run",
    "MALLOC_PERTURB_": "7",
    "TRITON_CACHE_DIR": "/tmp/elsewhere",
    # recorded
    "ACCELERATE_BYPASS_DEVICE_MAP": "true",
    "PYTHONPATH": str(TOP),
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2",
    "LD_PRELOAD": "libm.so.6",
    "LD_LIBRARY_PATH": "/tmp/elsewhere",
    "CXX": "g++",
    "TORCHDYNAMO_DISABLE": "1",
    "PYTORCH_SUM_INNER_TREE": "1",
    "AOT_PARTITIONER_DEBUG": "1",
    "TRITON_INTERPRET": "1",
    "PARTITIONER_MEMORY_BUDGET_PARETO": "0",
    "INDUCTOR_WRITE_SCHEDULER_GRAPH": "0",
    "TENSORIFY_PYTHON_SCALARS": "0",
    "SPLITTER_MERGE_OVERLAPPING_FUSIONS": "1",
    "CUTLASS_EPILOGUE_FUSION": "1",
    "CUTEDSL_ENABLE_AUTOTUNING": "1",
    "ENABLE_TEMPLATE_TMA_STORE": "1",
    "ENABLE_PERSISTENT_TMA_MATMUL": "1",
    "ENABLE_HOST_SIDE_TMA": "1",
    "HELION_BACKEND": "x",
    "QUACK_ARCH": "x",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "DNNL_CPU_ISA_HINTS": "PREFER_YMM",
    "MKL_CBWR": "COMPATIBLE",
    "FBGEMM_NO_ASMJIT": "1",
    "XNNPACK_X": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":16:8",
    "CUDNN_ERRATA_JSON_FILE": "/tmp/elsewhere",
    "CUDA_LAUNCH_BLOCKING": "1",
    "NVIDIA_X": "1",
    "DISABLE_ADDMM_CUDA_LT": "1",
    "MIOPEN_FIND_MODE": "1",
    "ROCBLAS_LAYER": "1",
    "HIPBLASLT_TUNING_FILE": "x",
    "HSA_OVERRIDE_GFX_VERSION": "1",
    "NCCL_ALGO": "Ring",
    "GLOO_DEVICE_TRANSPORT": "TCP",
    "OMP_DYNAMIC": "true",
    "KMP_AFFINITY": "granularity=fine,compact,1,0",
    "GOMP_CPU_AFFINITY": "0",
    "OPENBLAS_CORETYPE": "Prescott",
    "GOTO_NUM_THREADS": "2",
    "BLIS_NUM_THREADS": "2",
    "NPY_DISABLE_CPU_FEATURES": "AVX2",
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "SCIPY_ARRAY_API": "1",
    "SKLEARN_ASSUME_FINITE": "1",
    "ARROW_USER_SIMD_LEVEL": "NONE",
    "TIMM_FUSED_ATTN": "0",
    "JSIMD_FORCENONE": "1",
}
PROGRAM = """
import sys
from pathlib import Path
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.stages.evaluate import evaluate
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
config, root = EvaluateConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
prepare(config.data, root, processes=1)
train(config.classifier, root)
evaluate(config, root)
"""


def of(*treatments: str) -> dict[str, str]:
    """Return the variables with this treatment."""
    lines = {name: treatment(name) for name in SET}
    return {
        name: SET[name] for name, line in lines.items() if line and line.treatment in treatments
    }


def python(root: Path, config: TrainConfig, *launcher: str, **variables: str) -> str:
    """Prepare, train and evaluate in a Python of its own, which reads the variables as
    it loads its libraries. Return the digest of weights and probabilities.
    """
    (program := root.with_suffix(".py")).write_text(PROGRAM)
    evaluation = EvaluateConfig(
        data=config.data, classifier=config, precision=config.precision, policies=("crops_10",)
    )
    command = [*(launcher or (sys.executable,)), program, evaluation.model_dump_json(), root]
    environment = {**os.environ, "PYTHONPATH": str(TOP), **variables}
    ended = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise InputError(ended.stderr)
    weights = root / config.folder / "final" / "raw.safetensors"
    scores = root / evaluation.folder / "crops_10.safetensors"
    return hashlib.sha256(weights.read_bytes() + scores.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def bits(run_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest that no variable may change."""
    return python(tmp_path_factory.mktemp("plain") / "root", run_config)


def test_each_line_of_the_table_is_tried() -> None:
    assert {treatment(name) for name in SET} == set(TABLE)


def test_no_secret_is_recorded_and_our_own_settings_are_not() -> None:
    secrets = (
        "HF_TOKEN",
        "WANDB_API_KEY",
        "NVIDIA_API_KEY",
        "NCCL_AUTH",
        "TORCH_jwt",
        "MKL_Passwd",
    )
    for secret in (*secrets, "HOME"):
        assert secret not in recorded({secret: "x"})
    assert not PROCESS_ENVIRONMENT.keys() & recorded(PROCESS_ENVIRONMENT).keys()
    # of a library's next version
    assert recorded({"TORCH_NEW_ALGORITHM": "1"})["TORCH_NEW_ALGORITHM"] == "1"


def test_a_file_that_nccl_reads_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".nccl.conf").write_text("NCCL_ALGO=Tree\n")
    assert recorded({})["~/.nccl.conf"] == "NCCL_ALGO=Tree\n"


@pytest.mark.parametrize("name", of("refused"))
def test_a_contrary_variable_is_refused_before_anything_is_made(
    name: str, experiment: Path, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SET[name])
    command = ("run", experiment, "--data", image_folder, "--root", tmp_path / "root")
    refused = in_process(*command)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith(f"going-deeper: {name}={SET[name]}: ")
    assert "; expected it unset" in refused.stderr
    assert not (tmp_path / "root").exists()


def test_a_site_that_contradicts_is_refused_too(
    experiment: Path, image_folder: Path, tmp_path: Path
) -> None:
    (site := tmp_path / "site.toml").write_text(
        'cluster = "local"\n[environment]\nNVIDIA_TF32_OVERRIDE = "1"\n'
    )
    command = ("run", experiment, "--data", image_folder, "--root", tmp_path / "root")
    refused = in_process(*command, "--site", site)
    assert refused.returncode == 2
    assert refused.stderr.startswith("going-deeper: NVIDIA_TF32_OVERRIDE=1: ")
    assert not (tmp_path / "root").exists()


def test_a_variable_that_agrees_is_accepted() -> None:
    agreeing = {line.pattern: line.valid[0] for line in TABLE if line.valid}
    refuse_contrary(("fp32", "bf16"), agreeing)
    bf16 = {"ACCELERATE_MIXED_PRECISION": "bf16"}
    refuse_contrary(("bf16",), bf16)
    for precisions in (("fp32",), ("fp32", "bf16"), ()):
        with pytest.raises(InputError, match=r"MIXED_PRECISION=bf16: .*expected it unset or no "):
            refuse_contrary(precisions, bf16)
    refuse_contrary(("fp16",), {"ACCELERATE_MIXED_PRECISION": "fp16"})
    refuse_contrary(("tf32",), {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"})
    for value in ("0", "1"):
        with pytest.raises(InputError, match=rf"TF32_OVERRIDE={value}: .*tf32; expected it unset$"):
            refuse_contrary(("tf32", "fp32"), {"NVIDIA_TF32_OVERRIDE": value})


@pytest.mark.slow
@pytest.mark.processes
def test_what_cannot_move_a_number_does_not(
    bits: str, run_config: TrainConfig, tmp_path: Path
) -> None:
    """All such variables are set at once, with those that agree with the config, as one
    rank of torchrun. If one moved bits, no other would move them back.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ranks = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    ranks |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    agreeing = {
        name: line.valid[0] for name in of("refused") if (line := treatment(name)) and line.valid
    }
    assert (
        python(tmp_path / "root", run_config, **of("harmless", "pinned"), **agreeing, **ranks)
        == bits
    )


@pytest.mark.slow
@pytest.mark.processes
def test_what_may_move_bits_stands_in_the_result(run_config: TrainConfig, tmp_path: Path) -> None:
    """The results of training and of evaluation hold them. All are set at once, as a
    record of one hides no other.
    """
    wanted = of("recorded", "pinned")
    python(tmp_path / "root", run_config, **wanted)
    for kind in ("runs/*/run.json", "predictions/*/predictions.json"):
        (path,) = (tmp_path / "root").glob(kind)
        sealed = json.loads(path.read_text())
        assert sealed["provenance"]["environment"].items() >= wanted.items()
        assert sealed["hardware"]["name"]
        assert sealed["hardware"]["capability"] == "DEFAULT"
    (engine,) = sealed["engines"]
    assert all(f"; {name}={value}" in engine for name, value in wanted.items())


def launcher(folder: Path, precision: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return `accelerate launch` for a user whose accelerate config asks for a
    precision.
    """
    file = folder / "accelerate" / "default_config.yaml"
    file.parent.mkdir()
    file.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nnum_machines: 1\n"
        f"num_processes: 1\nmixed_precision: '{precision}'\nuse_cpu: true\n"
    )
    return {"HF_HOME": str(folder)}, (str(Path(sys.executable).parent / "accelerate"), "launch")


@pytest.mark.slow
@pytest.mark.processes
def test_accelerate_launch_makes_the_same_bits_or_is_refused(
    bits: str, run_config: TrainConfig, tmp_path: Path
) -> None:
    """The user's config file asks for no mixed precision, or for one that contradicts
    the training. The variable that it becomes may agree with another.
    """
    for precision in ("no", "bf16"):
        (tmp_path / precision).mkdir()
    variables, plain = launcher(tmp_path / "no", "no")
    assert python(tmp_path / "plain", run_config, *plain, **variables) == bits
    variables, mixed = launcher(tmp_path / "bf16", "bf16")
    with pytest.raises(InputError, match=r"ACCELERATE_MIXED_PRECISION=bf16: .* or no "):
        python(tmp_path / "refused", run_config, *mixed, **variables)
    assert not list(tmp_path.glob("refused/runs/*/final"))
    agreeing = run_config.but(precision="bf16")
    in_bf16 = python(tmp_path / "agreeing", agreeing, ACCELERATE_MIXED_PRECISION="bf16")
    assert in_bf16 == python(tmp_path / "alone", agreeing) != bits
