"""A notice that comes before a job listens is held, not lost, and kills nothing."""

import subprocess
import sys

from slurm.hold_notices import NOTICE
from tests.commands import TOP

JOB = """
import signal
print("started", flush=True)
signal.signal(signal.SIGUSR2, lambda *_: print("noticed", flush=True))
while signal.SIGUSR2 not in signal.sigpending():
    pass
print("listens", flush=True)
from slurm.hold_notices import listen
listen()
"""


def test_a_notice_during_the_imports_is_delivered_once_the_job_listens() -> None:
    command = [sys.executable, "-S", str(TOP / "slurm" / "hold_notices.py"), "-u", "-c", JOB]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]
        process.send_signal(NOTICE)
        said += process.stdout.readlines()
    assert (process.returncode, said) == (0, ["started\n", "listens\n", "noticed\n"])
