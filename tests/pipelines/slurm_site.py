"""A Slurm of one node for tests: its own key, ports and folder, nothing of the machine's is used.

It needs the packages ``slurm-wlm`` and ``munge`` and the rights of root, but neither systemd nor
control groups: memory is sampled every second, and a job over its limit is killed.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
_PATH = f"/usr/sbin:/sbin:{os.environ.get('PATH', '')}"
_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
MinJobAge=3600
MaxArraySize={array}
KillWait=10
SlurmctldTimeout=30
SlurmdTimeout=300
MessageTimeout=30
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory={memory} State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here; empty: it can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a Slurm of its own needs root"


class Slurm:
    """The daemons, and what is asked of them."""

    def __init__(self, folder: Path, *, memory_mb: int = 12000, array: int = 1001):
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._settings = {
            "folder": folder, "host": self.host, "memory": memory_mb, "array": array,
            "controller": _free_port(), "node": _free_port(),
        }  # fmt: skip
        self.environment = {
            **os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf"), "LC_ALL": "C",
        }  # fmt: skip
        for name in [
            name for name in self.environment if re.match("SLURM_(?!CONF)|SBATCH_", name)
        ]:
            del self.environment[name]

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        (self.folder / "slurm.conf").write_text(_CONFIGURATION.format(**self._settings))
        (self.folder / "cgroup.conf").touch()
        at = f"{self.folder}/munge"
        self._launch(
            "munged", "--foreground", "--force", f"--key-file={at}.key", f"--socket={at}.socket",
            f"--pid-file={at}.pid", f"--log-file={at}.log", f"--seed-file={at}.seed",
        )  # fmt: skip
        self._until(lambda: Path(f"{at}.socket").exists(), "munged has no socket")
        self._launch("slurmctld", "-D", "-i")
        self._until(lambda: "UP" in self.ask("scontrol", "ping"), "slurmctld does not answer")
        self._launch("slurmd", "-D", "-N", self.host)
        self._until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), "the node is not idle")

    def stop(self) -> None:
        self.ask("scancel", "--full", "-u", "root")
        end = time.monotonic() + 20
        while self.ask("squeue", "-h", "-t", "R,CG").strip() and time.monotonic() < end:
            time.sleep(0.2)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, *words: str) -> str:
        """What a command of Slurm prints, whatever its exit code."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job or task (``12_3``)."""
        text = self.ask("scontrol", "-o", "show", "job", number)
        return dict(re.findall(r"(\S+?)=(\S*)", text.splitlines()[0])) if text.strip() else {}

    def wait(self, number: str, states: str = "COMPLETED|FAILED|CANCELLED|TIMEOUT|OUT_OF_MEMORY"):
        """Wait until a job is in one of these states; what Slurm then knows of it."""
        self._until(
            lambda: re.fullmatch(states, self.job(number).get("JobState", "")),
            f"job {number} does not reach {states}",
            seconds=400,
        )
        return self.job(number)

    def _launch(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.out").open("ab") as log:
            daemon = subprocess.Popen(
                words, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._daemons.append(daemon)

    def _until(self, holds, what, seconds=40.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > end:
                logs = [path.read_text()[-1500:] for path in self.folder.glob("*.log")]
                raise AssertionError("\n".join([what, f"ended: {dead}", *logs]))
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
