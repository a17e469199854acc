"""The batch scripts of the sites that ship, and site files from people's own scripts,
as texts in tests/golden. To write them anew, where a change is meant:

    GOLDEN=write .venv/bin/pytest tests/slurm/test_sbatch_texts.py
"""

import os
import random
import re
import shlex
from pathlib import Path

import pytest
from submitit.slurm.slurm import _make_sbatch_string

from pipeline.errors import InputError
from slurm.from_sbatch import site_from_sbatch
from slurm.parameters import parameters
from slurm.sbatch_script import read_script
from slurm.site import SITES, Site, load_site
from slurm.snapshot import python
from tests.commands import TOP, in_process
from tests.faults.campaign import amount

GOLDEN = TOP / "tests/golden"
CENTRES = (
    "berzelius",
    "csd3",
    "della",
    "jean_zay",
    "juwels_booster",
    "leonardo",
    "lumi_g",
    "mila",
    "narval",
    "perlmutter",
    "snellius",
    "vista",
)
SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.sh"))


def compare(text: str, path: Path) -> None:
    """Compare a text with a golden one; one that is not there is no success."""
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def script(site: Site, kind: str) -> str:
    """Return the batch script of a job, with a short command."""
    options = parameters(f"{kind}-0123", site.granted(kind), site, ["7"])
    words = shlex.split(python(Path("/code"), 0o22, site.python or "python"))
    command = shlex.join([*words[: words.index("-c")], "..."])
    text: str = _make_sbatch_string(command=command, folder="/jobs", **options)
    return text


@pytest.mark.parametrize("name", CENTRES)
def test_the_batch_scripts_of_a_centre(name: str) -> None:
    site = load_site(Path(name))
    texts = [f"### {kind}\n{script(site, kind)}" for kind in ("prepare", "train", "evaluate")]
    compare("\n".join(texts), GOLDEN / f"sbatch/{name}.txt")
    head = (SITES / f"{name}.toml").read_text().split("cluster =")[0]
    assert re.search(r"https?://\S+", head), "a source"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_becomes_a_site(path: Path, tmp_path: Path) -> None:
    """Each option is in the job of a training, or in a comment that says why not."""
    made = tmp_path / "site.toml"
    shown = in_process("site", "from-sbatch", path, "--out", made)
    assert shown.returncode == 0, shown.stderr
    text = made.read_text()
    compare(text, GOLDEN / f"from_sbatch/{path.stem}.toml")
    assert in_process("site", "from-sbatch", path).stdout == text
    job = script(load_site(made), "train")
    for option, value in read_script(path.read_text()).options.items():
        is_there = re.search(rf"^#SBATCH --{option}(=|$)", job, re.MULTILINE) is not None
        gpus = option == "gpus" and "--gpus-per-node" in job
        assert is_there or gpus or f"--{option}" in text, (option, value)
    assert "0123456789abcdef" not in text  # a secret


def test_there_are_six_scripts() -> None:
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; expected a batch script"),
        (b"#!/bin/bash\necho", "has no line that begins with #SBATCH"),
        (b"#SBATCH -N 2 # \xff", "is no text in UTF-8"),
        (b"#" * 70_000, "has 70000 bytes, more than 65536"),
        (b"#SBATCH --mem=4G --mem-per-cpu=1G", "mem_gb and mem_per_cpu exclude each other"),
    ],
)
def test_what_is_no_batch_script_is_refused_in_one_line(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "job.sh"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        site_from_sbatch(path)
    assert "\n" not in str(refused.value)


def test_no_secret_of_a_script_is_written(tmp_path: Path) -> None:
    lines = (
        '#SBATCH -N 1 --comment="API_KEY=canary"',
        "#SBATCH --export=ALL,KEY=canary$X",
        "export A=1 HF_TOKEN=canary",
        "module load x; export HF_TOKEN=canary",
        'export WANDB_API_KEY="canary"',
        "TOKEN=canary python x.py",
        "if true; then",
        "  export HF_TOKEN=canary",
        "fi",
        "srun -l --container-env=HF_TOKEN=canary apptainer exec --env HF_TOKEN=canary a.sif python",
        "export HF_TOKEN=$(cat ~/.token)",
    )
    (tmp_path / "job.sh").write_text("\n".join(lines))
    text, _ = site_from_sbatch(tmp_path / "job.sh")
    assert "canary" not in text
    assert 'srun = ["--label"]' in text
    assert "export HF_TOKEN=$(cat ~/.token)" in text


def test_damaged_scripts_are_sites_or_one_line(tmp_path: Path) -> None:
    scripts = [path.read_bytes() for path in SCRIPTS]
    pieces = (b'"', b"'", b"\\", b"\n", b"$", b"#SBATCH ", b"--", b"=", b"{", b"<<EOF\n", b"9" * 30)
    refusals, sites = list[str](), 0
    for seed in range(amount(200, 2000)):
        rng = random.Random(seed)
        content = bytearray(rng.choice(scripts))
        for _ in range(rng.randrange(1, 10)):
            at = rng.randrange(len(content))
            content[at : at + rng.randrange(20)] = rng.choice((*pieces, rng.randbytes(1)))
        (tmp_path / "job.sh").write_bytes(content)
        try:
            text, _ = site_from_sbatch(tmp_path / "job.sh")
        except InputError as error:
            refusals.append(str(error))
            continue
        (tmp_path / "site.toml").write_text(text)
        load_site(tmp_path / "site.toml")
        sites += 1
    assert refusals
    assert sites
    assert not any("\n" in line for line in refusals)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("mine")
    ended = in_process("site", "from-sbatch", SCRIPTS[0], "--out", tmp_path / "mine.toml")
    assert ended.returncode == 2
    assert "is there already; expected a new file" in ended.stderr
    assert (tmp_path / "mine.toml").read_text() == "mine"
