"""A stand-in for SLURM's commands: no job runs, each request is counted, and a limit
refuses jobs in the words of the real sbatch.
"""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

COMMAND = """\
#!{python} -IS
import os, re, sys, time
from pathlib import Path
folder, name, words = Path({folder!r}), Path(sys.argv[0]).name, sys.argv[1:]
with (folder / "requests").open("a") as file:
    file.write(name + "\\n")
jobs = folder / "jobs"
alive = [path for path in jobs.iterdir() if path.read_text().split("|")[0] != "COMPLETED"]
if name == "sbatch":
    script = Path(words[0]).read_text()
    array = re.search(r"--array=.?0-(\\d+)", script)
    count = int(array[1]) + 1 if array else 1
    if count > {array_size}:
        sys.exit("sbatch: error: Batch job submission failed: Invalid job array specification")
    if len(alive) + count > {most}:
        sys.stderr.write({refusal!r})
        sys.stderr.flush()
        time.sleep({patience})
        sys.exit(1)
    last = max([int(path.name.split("_")[0]) for path in jobs.iterdir()], default=0)
    job_name = re.search(r"--job-name=(\\S+)", script)[1]
    cluster = "".join(re.findall(r"--clusters=(\\w+)", script))
    for number in range(count):
        job_id = f"{{last + 1}}_{{number}}" if array else str(last + 1)
        (jobs / job_id).write_text(f"PENDING|None||1:00|{{job_name}}\\n{{cluster}}")
    print(f"Submitted batch job {{last + 1}}" + (f" on cluster {{cluster}}" if cluster else ""))
elif name == "squeue":
    clusters = [word.partition("=")[2] for word in words if word.startswith("--clusters=")]
    for path in sorted(jobs.iterdir()):
        line, _, cluster = path.read_text().partition("\\n")
        if [cluster] == (clusters or [""]):
            print(f"CLUSTER: {{cluster}}\\n" * bool(cluster) + path.name + "|" + line)
elif name == "scontrol" and words[:2] == ["show", "config"]:
    print("MaxArraySize            = {array_size}")
elif name == "scancel":
    for job_id in words:
        if not job_id.startswith("-"):
            (jobs / job_id).unlink()
"""
REFUSAL = """\
sbatch: error: AssocMaxSubmitJobLimit
sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit \
limit, user's size and/or time limits)
"""
FULL = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"


class StandIn:
    """The commands in a folder, which goes before the others on the PATH.

    It takes at most `most` jobs, in arrays of at most `array_size`.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        most: int = 1000,
        array_size: int = 1001,
        refusal: str = REFUSAL,
        patience: float = 0.0,
    ):
        self.folder = folder
        (folder / "jobs").mkdir(parents=True)
        text = COMMAND.format(
            python=sys.executable,
            folder=str(folder),
            most=most,
            array_size=array_size,
            refusal=refusal,
            patience=patience,
        )
        for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun", "sinfo"):
            path = folder / name
            path.write_text(text)
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def alive(self) -> dict[str, str]:
        """Return the names of the jobs that wait, by id, oldest first."""
        texts = {path.name: path.read_text() for path in (self.folder / "jobs").iterdir()}
        alive = {job: self.name(job) for job, text in texts.items() if "PENDING" in text}
        return dict(sorted(alive.items(), key=lambda item: int(item[0].split("_")[0])))

    def name(self, job_id: str) -> str:
        """Return the name of a job, also of one that has ended."""
        return (self.folder / "jobs" / job_id).read_text().split("\n")[0].split("|")[-1]

    def names(self) -> list[str]:
        """Return the names of all jobs, also of those that ended."""
        return [self.name(path.name) for path in (self.folder / "jobs").iterdir()]

    def end(self, job_id: str, state: str = "COMPLETED") -> None:
        """End a job."""
        path = self.folder / "jobs" / job_id
        path.write_text(path.read_text().replace("PENDING", state))

    def requests(self) -> Counter[str]:
        """Return how often each command was called."""
        path = self.folder / "requests"
        return Counter(path.read_text().split() if path.exists() else ())
