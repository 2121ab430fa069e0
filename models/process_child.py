"""The process that holds a model, as its parent holds it: born, asked, ended. Nothing here is async: one thread's."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any

from models.batching import PassSpoilt
from models.process_memory import Memory
from models.process_worker import Load, Loaded, work
from schemas.errors import ModelFailed, RadstreamError
from schemas.ports import Prediction, Radiograph

#: seconds for reading, compiling and testing a model
_LOADED_WITHIN_S = 600.0


class Child:
    """It lives as long as the thread that made it, at most (prctl(2), PR_SET_PDEATHSIG). Raises OSError when it cannot be born."""

    def __init__(self, load: Load, threads: int | None) -> None:
        context = multiprocessing.get_context("spawn")
        self._memory = Memory()
        self._pipe, theirs = context.Pipe()
        arguments = (load, theirs, self._memory, os.getpid(), threads)
        self._process = context.Process(target=work, args=arguments, name="model", daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._memory.close()
            self._pipe.close()
            raise
        finally:
            theirs.close()

    def loaded(self) -> Loaded:
        """Once, before it is asked. Raises what `load` raises, or ModelFailed: then it has ended."""
        try:
            said = self._said(_LOADED_WITHIN_S)
        except PassSpoilt as spoilt:
            raise ModelFailed("load", "model", str(spoilt)) from None
        if isinstance(said, RadstreamError):
            self.end()
            raise said
        return said  # type: ignore[no-any-return]

    def ask(self, radiographs: Sequence[Radiograph], timeout_s: float) -> list[Prediction | RadstreamError]:
        """Raises PassSpoilt (without an answer within `timeout_s`, or dead, it has ended), and as `ImageModel.predict_all`."""
        packed = self._memory.put(radiographs)
        try:
            self._pipe.send(packed)
        except ConnectionError:
            raise self._died() from None
        answers = self._said(timeout_s)
        self._memory.free()
        if isinstance(answers, Exception):
            raise answers
        return answers  # type: ignore[no-any-return]

    @property
    def alive(self) -> bool:
        return not self.gone(0)

    def gone(self, within_s: float) -> bool:
        """Waits for its end; any thread may."""
        return bool(wait([self._process.sentinel], within_s))

    def terminate(self) -> None:
        """Any thread may."""
        self._process.terminate()

    def kill(self) -> None:
        """Any thread may."""
        self._process.kill()

    def end(self) -> None:
        """At once; once or more often."""
        self._process.kill()
        self._process.join()
        if not self._pipe.closed:
            self._pipe.close()
            self._memory.close()

    def _said(self, within_s: float) -> Any:
        try:
            if self._pipe.poll(within_s):
                return self._pipe.recv()
        except (EOFError, OSError):  # OSError: in the middle of what it said
            raise self._died() from None
        self.end()
        raise PassSpoilt(f"the model's process gave no answer within {within_s:g} s")

    def _died(self) -> PassSpoilt:
        self.end()  # a process that has ended already keeps its exit code
        return PassSpoilt(f"the model's process ended with code {self._process.exitcode}")
