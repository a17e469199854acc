"""The commands about jobs (status, logs, cancel), about a site (site check), and about
a cluster to try them on (slurm).
"""

import sys
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from tempfile import gettempdir

import click

from pipeline.commands.arguments import MOST, MOST_PROCESSES, PATH, ROOT, SITE, study_command
from pipeline.configs.study import Study
from pipeline.errors import InputError
from slurm import answers
from slurm import status as view
from slurm.cluster import Cluster
from slurm.ledger import entries
from slurm.probe import check_site
from slurm.resources import MOST_NODES
from slurm.site import load_site
from slurm.table import Row, table
from slurm.table import as_json as json_of

CLUSTER = click.option(
    "--dir",
    "folder",
    type=PATH,
    default=Path(gettempdir()) / "going-deeper-slurm",
    show_default=True,
    help="Its folder.",
)


@study_command("going-deeper status demo")
@click.option(
    "--watch", is_flag=True, help="Print what changes until nothing runs or waits any more."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help=f"Print a list of rows with the fields {', '.join(Row._fields)}.",
)
def status(study: Study, root: Path, watch: bool, as_json: bool) -> None:
    """Show a study's stages: state, job, node, progress, time left, and why one waits
    or failed, with its log; what a finished job used of its cores and memory.
    """
    if watch:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            view.wait(study, root)
    rows = view.status(study, root)
    print(json_of(rows) if as_json else table(rows))


@study_command("going-deeper logs demo --stage train -f")
@click.option("--stage", default="", help="Only names that begin so: train, train-0484a0 ...")
@click.option(
    "--lines",
    type=click.IntRange(1, MOST),
    default=20,
    show_default=True,
    help="Of each log, the last ones.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is written, until Ctrl-C.")
def logs(study: Study, root: Path, stage: str, lines: int, follow: bool) -> None:
    """Show what the jobs of a study wrote last."""
    shown = [entry for entry in entries(study, root) if entry.name.startswith(stage)]
    if not shown:
        raise InputError(
            f"{root / 'jobs'}: no jobs of this"
            f" study{f' whose name begins with {stage}' if stage else ''}; what runs here"
            " without --site has none, and says all on the screen"
        )
    at: dict[Path, int] = {}
    while True:
        for entry in shown:
            for path in entry.logs(root):
                content = path.read_text(errors="replace")
                new = (
                    content[at[path] :] if path in at else "\n".join(content.splitlines()[-lines:])
                )
                if new.strip():
                    print(f"==> {path}\n{new.rstrip()}", flush=True)
                at[path] = len(content)
        if not follow:
            return
        time.sleep(1)


@study_command("going-deeper cancel demo")
def cancel(study: Study, root: Path) -> None:
    """End the jobs of a study that run or wait. What is complete stays; a training has
    saved and goes on at the next run.
    """
    submitted = entries(study, root)
    known = answers.queued(submitted)
    cancelled = answers.cancel(
        [entry for entry in submitted if any(job.is_alive for job in entry.jobs(known))]
    )
    print(
        f"cancelled: {', '.join(cancelled)}"
        if cancelled
        else "nothing to cancel: no job of this study runs or waits"
    )


@click.group()
def site() -> None:
    """Make a site file, or try one on its nodes.

    Its tables prepare, train, evaluate and report have what sbatch takes: partition,
    account, qos, constraint, nodelist, exclude, reservation, gpus_per_node, gres,
    mem_gb, mem_per_cpu, mem_per_gpu, cpus_per_gpu, exclusive, licenses, mail_type,
    nice, comment, wckey, srun, setup, and sbatch for any other option. A key at the top
    is for all four.
    """


@site.command(
    short_help="Try on its nodes, for a minute, what a study needs.",
    epilog="Example: going-deeper site check gpu",
)
@click.argument("path", metavar="SITE", type=SITE)
@click.option(
    "--nodes",
    type=click.IntRange(1, MOST_NODES),
    default=2,
    show_default=True,
    help="Nodes of the probe.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print an object: passed; checks, a list of check, passed and words; report.",
)
@ROOT
def check(path: Path, nodes: int, root: Path, as_json: bool) -> None:
    """Submit a probe of a minute: launch, rendezvous, all-reduce, GPUs, shared disk,
    clocks, Python, W&B. Waits for it.
    """
    checked = check_site(load_site(path), path.stem, root, nodes)
    print(checked.as_json() if as_json else checked.in_words())
    if not checked.is_sound:
        sys.exit(3)


@site.command(
    "from-sbatch",
    short_help="Make a site file from a batch script that works.",
    epilog="Example: going-deeper site from-sbatch train.sh --out mine.toml",
)
@click.argument("path", metavar="FILE", type=PATH)
@click.option("--out", type=PATH, help="File to write.  [default: the screen]")
def from_sbatch(path: Path, out: Path | None) -> None:
    """Make a site file from a batch script that works for you: its #SBATCH options,
    modules, environments, variables, options of srun, container. Comments in it say
    what could not be taken over, and why.
    """
    from slurm.from_sbatch import site_from_sbatch

    text, number = site_from_sbatch(path)
    if out is None:
        print(text, end="")
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"--out {out}: is there already; expected a new file") from None
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    print(f"{out}: {number} options and lines are not taken over; its comments say which")


@click.group()
def slurm() -> None:
    """A real SLURM cluster of several nodes on this machine, to try a study on. Needs
    slurmctld, slurmd and munge.
    """


@slurm.command(epilog='Example: going-deeper slurm up && eval "$(going-deeper slurm env)"')
@CLUSTER
@click.option("--nodes", type=click.IntRange(1, 500), default=4, show_default=True)
@click.option(
    "--cores",
    type=click.IntRange(1, MOST_PROCESSES),
    default=4,
    show_default=True,
    help="That each node claims to have.",
)
def up(folder: Path, nodes: int, cores: int) -> None:
    """Start it."""
    cluster = Cluster(folder, nodes, cores)
    cluster.up()
    print(f"{nodes} nodes are idle; speak to them with: export SLURM_CONF={cluster.conf}")


@slurm.command()
@CLUSTER
def env(folder: Path) -> None:
    """Print the line that has SLURM's commands speak to it."""
    print(f"export SLURM_CONF={Cluster(folder).conf}")


@slurm.command()
@CLUSTER
def down(folder: Path) -> None:
    """End its jobs and its daemons."""
    Cluster(folder).down()
