"""Whatever a site file holds: a site within bounds, or one line that names the file."""

import random
import shlex
import time
from pathlib import Path

import pytest
from submitit.slurm.slurm import _make_sbatch_string

from pipeline.errors import InputError
from slurm.parameters import parameters
from slurm.resources import LONGEST_LINE, Resources
from slurm.site import KINDS, MOST_BYTES, Site, load_site
from tests.faults.campaign import amount

SITES = sorted((Path(__file__).parents[2] / "slurm/sites").glob("*.toml"))
KEYS = (*Site.model_fields, *Resources.model_fields, "slurm_partitoin", "x" * 5000, "")
TABLES = (*KINDS, "sbatch", "train.sbatch", "environment", "trian", "a.b")
VALUES = (
    "true",
    "1.0",
    "-1",
    "0",
    "2",
    "9" * 20,
    "9" * 5000,
    "0x" + "f" * 5000,
    "1e400",
    "nan",
    "-inf",
    "1979-05-27T07:32:00Z",
    "''",
    "'a'",
    '"a\\u2028b"',
    '"a\\u0085b"',
    '"a\\nb"',
    '"a\\u202Eb"',
    '"""\na\nb"""',
    "'" + "a" * 5000 + "'",
    "[]",
    "['module load cuda']",
    '["true\\u2028rm -rf ~"]',
    '["a\\u001Cb"]',
    "[" * 1000 + "]" * 1000,
    "{a = " * 1000 + "1" + "}" * 1000,
    "{}",
    "{nodes = 2}",
    "{nodes = true}",
    "{A = 'b'}",
    "{'A-' = 'b'}",
    "{A.b.c = 1}",
    "'/scratch'",
    "'/scratch;id'",
    "'gpu'",
    "'a100:4'",
    "'a100&ib|[rack1|rack2]'",
    "'node[1-3],node7'",
    "'4000M'",
    "['--mpi=pmix']",
    "{hint = 'no multithread', contiguous = true}",
    "{wrap = 'id'}",
    """{'hint=x\\n#SBATCH --uid' = "0"}""",
    """{hint = "x\\n#SBATCH --uid=0"}""",
    "'x #y'",
    "",
)


def a_site(rng: random.Random) -> bytes:
    """Return the content of a site file: keys with values of all kinds, or one of ours
    with damage.
    """
    if rng.random() < 0.5:
        lines = [rng.choice(("cluster = 'slurm'", "cluster = 'local'", ""))]
        for _ in range(rng.randrange(1, 4)):
            if rng.random() < 0.3:
                lines.append(f"[{rng.choice(TABLES)}]")
            key, value = rng.choice(KEYS), rng.choice(VALUES)
            lines.append(f"{key if key.isidentifier() else repr(key)} = {value}")
        return "\n".join(lines).encode()
    content = bytearray(rng.choice(SITES).read_bytes())
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(content))
        match rng.randrange(4):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[at : at + rng.randrange(1, 40)]
            case 2:
                content[at:at] = rng.choice(VALUES).encode()
            case _:
                content[at:at] = rng.randbytes(rng.randrange(1, 8))
        if not content:
            break
    return bytes(content)


def assert_is_whole(script: str) -> None:
    """Each option of a batch script is one word, and the last line runs Python."""
    lines = script.splitlines()
    marked = [line for line in lines if "#SBATCH" in line]
    assert all(len(shlex.split(line)) == 2 and line.startswith("#SBATCH --") for line in marked)
    assert shlex.split(lines[-1])[-1] == "python"
    assert not {"--uid=0", "--wrap=id"} & set(shlex.split(script, comments=False))


def test_fuzzed_sites_are_sites_or_one_line(tmp_path: Path) -> None:
    path, refused, slowest = tmp_path / "fuzzed.toml", 0, 0.0
    for seed in range(amount(200, 1000)):
        path.write_bytes(a_site(random.Random(seed)))
        started = time.perf_counter()
        try:
            site = load_site(path)
        except InputError as error:
            refused += 1
            line = str(error)
        else:
            line = f"{path}: is a site"
            for kind in KINDS:
                options = parameters(f"{kind}-1", site.granted(kind), site)
                assert type(site.granted(kind).nodes) is int
                if site.cluster == "slurm":
                    assert_is_whole(_make_sbatch_string("python", "/jobs", **options))
            lines = (*site.setup, *site.environment.values())
            assert all(len(line.splitlines()) < 2 for line in lines), seed
        assert line.startswith(f"{path}: "), seed
        assert "\n" not in line, seed
        assert len(line) < 1000 + len(str(path)), seed
        slowest = max(slowest, time.perf_counter() - started)
    assert refused > 50
    assert slowest < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 1000 + "]" * 1000, "within each other, too deep"),
        ("a = " + "{a = " * 1000 + "1" + "}" * 1000, "within each other, too deep"),
        ("[train]\nnodes = true", "train.nodes = True: Input should be a valid integer"),
        ("[train]\nnodes = 2.0", "train.nodes = 2.0: Input should be a valid integer"),
        ("[train]\nmem_gb = true", "train.mem_gb = True: Input should be a valid number"),
        (f"[train]\ntimeout_min = {'9' * 20}", "Input should be less than or equal to 527040"),
        (f"[train]\ntimeout_min = {'9' * 5000}", "is not TOML: Exceeds the limit"),
        (f"[train]\ntimeout_min = 0x{'f' * 5000}", "timeout_min = a long int"),
        (f"{'x' * 5000} = 1", f"unknown key {'x' * 64}; valid keys"),
        (f"slurm_setup = ['{'x' * (LONGEST_LINE + 1)}']", "at most 4096 characters"),
        ("slurm_setup = ['\xff']", "is not TOML"),
    ],
    ids=lambda text: text[:20],
)
def test_each_kind_of_wrong_site_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(f"cluster = 'slurm'\n{text}", encoding="latin-1")
    with pytest.raises(InputError) as refused:
        load_site(path)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "character", ["\u2028", "\u2029", "\x85", "\x1c", "\x1e", "\x0b", "\x0c", "\u202e", "\x7f"]
)
def test_a_line_of_set_up_is_one_line(character: str) -> None:
    for field in ({"slurm_setup": [f"a{character}b"]}, {"environment": {"A": f"a{character}b"}}):
        with pytest.raises(ValueError, match=r"character 2 is .*; expected one line"):
            Site.model_validate({"cluster": "slurm"} | field)
    assert Site(cluster="slurm", setup=("echo 'é \N{CJK UNIFIED IDEOGRAPH-4E00}'",))


def test_what_is_no_small_file_is_not_read(tmp_path: Path) -> None:
    for path, message in (
        (Path("/dev/zero"), "no such site file"),
        (tmp_path, "no such site file"),
        (tmp_path / "large.toml", f"has {MOST_BYTES + 1} bytes"),
    ):
        if path.suffix:
            path.write_text("#" * (MOST_BYTES + 1))
        with pytest.raises(InputError, match=message):
            load_site(path)
