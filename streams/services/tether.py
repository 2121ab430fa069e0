"""Runs a command that must not outlive the process that asked for it, even when that is killed with -9.

Started as a script, with the standard library alone: `python -S tether.py PARENT_PID GRACE_SECONDS COMMAND…`.
PR_SET_PDEATHSIG alone would not do: the kernel sends it when the forking *thread* ends, so a service started from a
worker thread would die too early. This process watches its parent by pidfd and has one thread, so that the signal is
right for its own child.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def _end_with(tether: int) -> None:
    """In the child, before exec: the kernel kills it when the tether is gone. What the tether holds back is not held back here."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != tether:  # gone between fork and prctl
        os._exit(1)


def main(parent: int, grace_seconds: float, command: list[str]) -> int:
    """Return the command's exit status. TERM is handed on to it; when the parent ends it gets TERM, later KILL."""
    parent_handle = os.pidfd_open(parent)
    if os.getppid() != parent:
        return 1
    tether = os.getpid()
    # a TERM before there is somebody to hand it to would end the tether, and with it the command, unasked
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = subprocess.Popen(command, preexec_fn=lambda: _end_with(tether))
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    child_handle = os.pidfd_open(child.pid)
    poll = select.poll()
    poll.register(parent_handle, select.POLLIN)
    poll.register(child_handle, select.POLLIN)
    if child_handle not in {handle for handle, _ in poll.poll()}:
        child.terminate()
        try:
            child.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
