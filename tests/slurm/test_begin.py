"""A notice that comes before a job listens is held, not lost, and kills nothing."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from slurm.begin import NOTICE
from slurm.snapshot import code_environment, python
from tests.commands import TOP

JOB = """
import signal
print("started", flush=True)
signal.signal(signal.SIGUSR2, lambda *_: print("noticed", flush=True))
while signal.SIGUSR2 not in signal.sigpending():
    pass
print("listens", flush=True)
from slurm.begin import listen
listen()
"""


def test_a_notice_during_the_imports_is_delivered_once_the_job_listens(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm/start.py").write_text(JOB)
    shutil.copy(TOP / "slurm/begin.py", tmp_path / "slurm")
    command = [*shlex.split(python(tmp_path, 0o022)), "-u", "-m", "submitit", "JOBS"]
    variables = os.environ | code_environment(tmp_path)
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        process.send_signal(NOTICE)
        lines += process.stdout.readlines()
    assert (process.returncode, lines) == (0, ["started\n", "listens\n", "noticed\n"])


DONE = """
import signal
from slurm.begin import {function}
signal.signal(signal.SIGUSR2, lambda *_: None)
garbage = [[] for _ in range(3_000_000)]  # which takes Python a while to clear away
{function}()
print("done", flush=True)
"""


def end_of(function: str) -> int:
    command = [sys.executable, "-S", "-u", "-c", DONE.format(function=function)]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        while process.poll() is None:
            process.send_signal(NOTICE)
            time.sleep(0.001)
    return int(process.returncode)


def test_a_notice_after_the_work_is_done_is_of_no_account() -> None:
    """At its end Python removes its handlers. The notice would then kill it, and SLURM
    would call the job failed.
    """
    assert end_of("listen") == -NOTICE
    assert end_of("disregard") == 0
