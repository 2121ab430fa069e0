"""One process that decodes, as its parent holds it and as it is inside. Never imports torch.

It has a pipe of its own: what kills it, whenever that is, takes nothing with it that another process waits for. (Pools whose
processes share a queue share its lock too, and a process that is killed with the lock in its hand keeps it.)"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from connectors import decoding_worker

#: seconds until a new process has read its modules
_BEGUN_WITHIN_S = 60.0
#: seconds after the time for a file by which a process ends by itself: whoever asked was killed, and cannot end it
_ALONE_S = 2.0


class ProcessEnded(Exception):
    """It ended with what it was asked, and gave no answer."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class ProcessNotBegun(Exception):
    """It ended, or hung, before it could be asked: no file's fault."""


class DecodingProcess:
    """One caller at a time; `kill` may come from any thread. Raises OSError when it cannot be born."""

    def __init__(self, memory_limit_bytes: int) -> None:
        context = multiprocessing.get_context("spawn")  # it shares nothing with us
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, memory_limit_bytes), name="decoding", daemon=True)
        self._begun = False
        try:
            self._process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()

    @property
    def alive(self) -> bool:
        return not wait([self._process.sentinel], 0)

    def ask(self, timeout_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns or raises there. Raises ProcessNotBegun; TimeoutError, after so many seconds with what it was
        asked, and ProcessEnded: after each of these it has ended."""
        if not self._begun:
            try:
                self._said(_BEGUN_WITHIN_S)
            except (TimeoutError, ProcessEnded):
                raise ProcessNotBegun from None
            self._begun = True
        try:
            self._pipe.send((timeout_s, function, arguments))
        except OSError:
            raise self._ended() from None
        answer = self._said(timeout_s)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """At once; once or more often."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _said(self, within_s: float) -> Any:
        try:
            if self._pipe.poll(within_s):
                return self._pipe.recv()
        except (EOFError, OSError):  # OSError: in the middle of an answer
            raise self._ended() from None
        self.end()
        raise TimeoutError

    def _ended(self) -> ProcessEnded:
        self.end()  # a process that has ended already keeps its exit code
        return ProcessEnded(self._process.exitcode)


def _serve(pipe: Connection, memory_limit_bytes: int) -> None:
    """Inside: answers until the pipe ends, with its parent at the latest. Ctrl-C of the terminal is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    decoding_worker.initialise(memory_limit_bytes)
    pipe.send(None)
    while True:
        try:
            timeout_s, function, arguments = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, timeout_s + _ALONE_S)  # SIGALRM ends what holds the GIL too
        answer = _answer(function, arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(answer)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - raised again by who asked
        return error
