"""A real Slurm of two nodes that are both this machine, for tests: daemons, ports and directories of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

NODES = ("n1", "n2")
_DAEMONS = ("slurmctld", "slurmd", "munged", "sbatch", "srun")
#: What was put back into the queue waits for as long as a credential holds, which is two minutes by default.
_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool.%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=4 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""


def find_obstacle() -> str | None:
    """Why no Slurm can be started here; None where it can."""
    missing = [name for name in _DAEMONS if _locate(name) is None]
    if missing:
        return f"Slurm is not installed here: there is no {missing[0]} (Debian: slurm-wlm and munge)"
    return "starting a Slurm takes root here" if os.getuid() else None


@contextmanager
def start(directory: Path) -> Iterator[Path]:
    """Start it; the file that SLURM_CONF has to name. At the end its daemons are stopped, and no others."""
    (directory / "state").mkdir(parents=True)
    for node in NODES:
        (directory / f"spool.{node}").mkdir()
    configuration = directory / "slurm.conf"
    host, user = socket.gethostname().partition(".")[0], getpass.getuser()
    configuration.write_text(_CONFIGURATION.format(host=host, directory=directory, user=user, ports=_find_ports()))
    key = directory / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))
    with ExitStack() as stopping:
        for name, options in {
            "munged": [
                "--force", f"--socket={directory}/munge.socket", f"--key-file={key}",
                f"--pid-file={directory}/munged.pid", f"--log-file={directory}/munged.log",
                f"--seed-file={directory}/munged.seed",
            ],
            "slurmctld": ["-f", str(configuration)],
            **{f"slurmd.{node}": ["-N", node, "-f", str(configuration)] for node in NODES},
        }.items():  # fmt: skip
            command = _locate(name.partition(".")[0])
            assert command is not None
            subprocess.run([command, *options], check=True, capture_output=True, timeout=60)
            stopping.callback(_stop, directory / f"{name}.pid")
        _wait_for_nodes(configuration)
        yield configuration


def _locate(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _find_ports() -> list[int]:
    """Three in a row that nobody listens on."""
    for first in range(17800 + os.getpid() % 300 * 3, 19000, 3):
        ports = [first, first + 1, first + 2]
        with ExitStack() as bound, suppress(OSError):
            for port in ports:
                bound.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return ports
    raise AssertionError("no ports are free")


def _wait_for_nodes(configuration: Path) -> None:
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    command = ["sinfo", "--noheader", "--Node", "--states=idle", "--partition=main", "--format=%N"]
    for _ in range(240):
        listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        if listed.stdout.split() == list(NODES):
            return
        time.sleep(0.25)
    raise AssertionError(f"the nodes do not come up: {listed.stdout}{listed.stderr}")


def _stop(file: Path) -> None:
    with suppress(OSError, ValueError):
        process = int(file.read_text())
        os.kill(process, signal.SIGTERM)
        for _ in range(100):
            os.kill(process, 0)
            time.sleep(0.1)
        os.kill(process, signal.SIGKILL)
