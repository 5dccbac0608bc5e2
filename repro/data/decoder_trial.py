"""Decoding in a process of its own first: an assertion of FFmpeg's own ends a process without an exception.

Found in MPEG-4 with partitioned data: `decode_slice` returns a damaged value of a block as if it were an error, and
-11 is the one that the caller takes to be impossible.
"""

from __future__ import annotations

import os
import resource
import signal
import warnings
from collections.abc import Callable

#: What a fault of the decoder ends a process with; what others send it, such as SIGTERM, says nothing about the file.
_FAULTS = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}
#: What the run answers, and the copy must not.
_ANSWERED = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
#: Seconds that a copy may take: one that hangs, as with a lock that another thread held, is no fault of the file.
_PATIENCE = 300


def find_fault(work: Callable[[], object]) -> str | None:
    """Find the signal, such as "SIGABRT", by which `work` would end this process; None: it would not.

    A copy of this process does it, whose exceptions and results are dropped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the copy calls nothing that waits for them
        process = os.fork()
    if process == 0:
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_PATIENCE)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for output in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), output)
            work()
        finally:
            os._exit(0)
    try:
        _, status = os.waitpid(process, 0)
    except BaseException:  # Ctrl-C
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _FAULTS:
        return signal.Signals(os.WTERMSIG(status)).name
    return None
