"""A network on an inference server of the site (Triton, KServe, MLServer, another radstream): Open Inference Protocol v2 over HTTP.

The numbers in brackets are sections of KServe's required_api.md; binary data are Triton's extension of that name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from connectors.archive_access import ArchiveAccess
from connectors.archive_connection import Answer, ArchiveConnection, Question
from connectors.deadline import Deadline
from connectors.inference_tensors import Tensor, described, joined, read, split
from schemas.errors import (
    AccessRefused,
    ArchiveUnavailable,
    InvalidResource,
    MalformedMessage,
    ModelFailed,
    ModelUnavailable,
    SettingsInvalid,
)

_STEP = "inference"
_JSON, _BINARY = "application/json", "application/octet-stream"
#: some servers leave the type out where there is binary data
_MEDIA_TYPES = frozenset({_JSON, _BINARY, ""})
#: bytes of an answer
_ANSWER_LIMIT = 256 * 1024 * 1024
#: versions that may be repeated: whatever else a server says may be anything
_SAYABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


class V2Network:
    """`schemas.ports.Network`. Whatever it is made of can be sent to the process that makes it."""

    def __init__(
        self,
        url: str,
        *,
        model_name: str,
        model_version: str,
        input_name: str,
        output_names: Sequence[str],
        binary: bool = False,
        max_batch: int = 1,
        timeout_s: float = 20.0,
        token_file: Path | None = None,
        tls_ca: Path | None = None,
    ) -> None:
        """`url`: what stands before /v2; `binary`: the server has the binary tensor data extension; `max_batch`: images in one
        request; `timeout_s`: from a request to its answer. Raises SettingsInvalid when a file cannot be used."""
        with _our_settings():
            access = ArchiveAccess(token_file=token_file, tls_ca=tls_ca)
            self._connection = ArchiveConnection(url, _ANSWER_LIMIT, access)
        self._model = f"/v2/models/{quote(model_name, safe='')}"
        self._versioned = f"{self._model}/versions/{quote(model_version, safe='')}"
        self._path = f"{self._versioned}/infer"
        self._name, self._version = model_name, model_version
        self._reference = f"{model_name}/{model_version}"
        self._input, self._outputs = input_name, tuple(output_names)
        self._binary, self._max_batch, self._timeout_s = binary, max_batch, timeout_s

    def __call__(self, canvases: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """See `Network`. Raises also AccessRefused (401, 403)."""
        parts = [self._infer(canvases[at : at + self._max_batch]) for at in range(0, len(canvases), self._max_batch)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def check_ready(self, within_s: float) -> None:
        """Whether the server would answer now: raises ModelUnavailable unless it says so, of exactly this model, within that
        time; AccessRefused (401, 403); ModelFailed when its answer has no end."""
        with Deadline(within_s) as deadline:
            if not self._says_ready(deadline):
                self._unavailable("the model is not ready there (yet)")

    def close(self) -> None:
        """Of the connection of this thread."""
        self._connection.close()

    def _infer(self, canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        body, length = self._request(canvases)
        headers = {"Accept": "*/*", "Content-Type": _BINARY if length else _JSON}
        if length:
            headers["Inference-Header-Content-Length"] = length
        with Deadline(self._timeout_s) as deadline:
            answer = self._ask(deadline, "POST", self._path, headers, body)
            if answer.status == 404 and self._knows_no_versions(deadline):
                self._path = f"{self._model}/infer"
                answer = self._ask(deadline, "POST", self._path, headers, body)
            if answer.status != 200:
                self._refused(answer, deadline)
        try:
            return self._numbers(answer, len(canvases))
        except MalformedMessage as error:
            raise ModelFailed(_STEP, self._reference, f"the answer: {error.reference}: {error.reason}") from None

    def _request(self, canvases: NDArray[np.float32]) -> tuple[bytes, str | None]:
        """[Inference Request JSON Object]"""
        tensor = Tensor(self._input, np.ascontiguousarray(canvases, np.float32))
        said, binary = described(tensor, binary=self._binary)
        wanted = [{"name": name, **({"parameters": {"binary_data": True}} if self._binary else {})} for name in self._outputs]
        return joined({"inputs": [said], "outputs": wanted}, binary)

    def _numbers(self, answer: Answer, count: int) -> dict[str, NDArray[np.float32]]:
        """[Inference Response JSON Object]. Raises MalformedMessage, ModelUnavailable."""
        envelope, binary = split(answer.content, answer.headers.get("Inference-Header-Content-Length"))
        self._check_identity(envelope)
        tensors = read(envelope.get("outputs"), binary, "output", self._outputs, others=True)
        for name in self._outputs:
            if name not in tensors:
                raise MalformedMessage(_STEP, f"output {name}", "is missing")
            values = tensors[name].values
            if tensors[name].datatype != "FP32":
                raise MalformedMessage(_STEP, f"output {name}", "is no FP32")
            if values.shape[:1] != (count,):
                raise MalformedMessage(_STEP, f"output {name}", f"is not of {count} images")
            if not np.isfinite(values).all():
                raise MalformedMessage(_STEP, f"output {name}", "holds what is no number")
        return {name: tensors[name].values for name in self._outputs}

    def _check_identity(self, envelope: Mapping[str, Any]) -> None:
        """A server that has been given another model must not speak in the name of this one."""
        name, version = envelope.get("model_name"), envelope.get("model_version")
        if name != self._name:
            self._unavailable(f"the server answers as model {_said(name)}: correct the package's card")
        if version is None:
            self._unavailable("the server does not say which version answers: set one there, so that it can be told")
        if version != self._version:
            self._unavailable(f"the server now answers as version {_said(version)}: promote a package for it")

    def _knows_no_versions(self, deadline: Deadline) -> bool:
        """Whether a model is there whose versions cannot be asked for by name ([Model Metadata]: `versions` is optional)."""
        told = self._metadata(deadline)
        return told is not None and not told.get("versions")

    def _refused(self, answer: Answer, deadline: Deadline) -> NoReturn:
        status = f"HTTP {answer.status}"
        self._check_access(answer)
        if 300 <= answer.status < 400:
            self._unavailable(f"{status}: it leads elsewhere, to a log-in perhaps: see its url and token_file in models.remotes")
        if answer.status in (400, 404, 500):  # MLServer says 400, Triton 400 or 503, of what is not loaded (yet)
            self._check_ready(deadline, status)
            if answer.status == 404:
                self._unavailable(f"{status}, though the model is ready: it may have become so just now")
        elif answer.status in (408, 429) or answer.status > 500:
            self._unavailable(status)
        why = "it fails on this input" if answer.status == 500 else "compare the card's input with the model's metadata"
        raise ModelFailed(_STEP, self._reference, f"{status}, though the server says that the model is ready: {why}")

    def _check_ready(self, deadline: Deadline, status: str) -> None:
        """Raises ModelUnavailable unless the server says that exactly this model is ready; AccessRefused."""
        versions = (self._metadata(deadline) or {}).get("versions")
        if isinstance(versions, list) and versions and self._version not in versions:
            self._unavailable(f"{status}: the server now has version {', '.join(map(_said, versions))}: promote a package for it")
        if not self._says_ready(deadline):
            self._unavailable(f"{status}: the model is not ready there (yet)")

    def _says_ready(self, deadline: Deadline) -> bool:
        """[Health]. Raises AccessRefused: to wait would not help."""
        place = self._versioned if self._path.startswith(self._versioned) else self._model
        answer = self._ask(deadline, "GET", f"{place}/ready", {"Accept": _JSON})
        self._check_access(answer)
        told = _told(answer)
        return told is not None and told.get("ready") is not False

    def _metadata(self, deadline: Deadline) -> dict[str, Any] | None:
        """[Model Metadata]; None where the server gives none: it may be closed to callers who may ask the model."""
        return _told(self._ask(deadline, "GET", self._model, {"Accept": _JSON}))

    def _check_access(self, answer: Answer) -> None:
        if answer.status in (401, 403):
            why = f"HTTP {answer.status}: see token_file of this server in models.remotes"
            raise AccessRefused(_STEP, self._reference, why)

    def _ask(self, deadline: Deadline, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        question = Question(method, path, _STEP, self._reference, headers, _MEDIA_TYPES, body=body)
        for last in (False, True):
            try:
                return self._connection.ask(deadline, question)
            except InvalidResource as error:
                raise ModelFailed(_STEP, self._reference, error.reason) from None
            except ArchiveUnavailable as error:
                # a connection that was kept may have been closed just then; asking a network twice does no harm
                if last or deadline.passed or not deadline.reached:
                    self._unavailable(error.reason)
        raise AssertionError("unreachable")

    def _unavailable(self, why: str) -> NoReturn:
        raise ModelUnavailable(_STEP, self._reference, why) from None


@contextmanager
def _our_settings() -> Iterator[None]:
    try:
        yield
    except SettingsInvalid as error:
        raise SettingsInvalid("models.remotes", error.reference, error.reason) from None


def _told(answer: Answer) -> dict[str, Any] | None:
    """What the server says of itself; None unless it does."""
    if answer.status != 200:
        return None
    try:
        told = json.loads(answer.content or b"{}")  # [Health]: the status is the answer, some say no more
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _said(value: object) -> str:
    return value if isinstance(value, str) and _SAYABLE.match(value) else "another"
