"""HTTP exchanges with one FHIR server, each bounded in time and size; and whether a failure is one item's or everything's."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import Any

import requests
import structlog
import urllib3

from connectors.http_access import Authorization, HttpAccess
from connectors.spells import Spell
from connectors.tls import tls_failure
from schemas.errors import AccessRefused, Conflict, FhirServerUnavailable, ItemNotServed, ResourceRefused
from schemas.renderings.fhir.envelope import Resource

STEP = "fhir"
_JSON = "application/fhir+json"
_CONNECT_TIMEOUT_S = 3.0
_ANSWER_LIMIT = 64 * 1024 * 1024
#: asked after a 401, 403 or 500: the database must answer (/metadata needs neither it nor a token), and no resource is read, which
#: may be the broken one
_PROBE = "/DiagnosticReport?identifier=urn:radstream:probe%7Cnobody&_count=1"
_REFUSED = frozenset({401, 403})

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """One limit over all requests of one call. Monotonic: it measures waiting, it dates nothing."""

    at: float

    def left(self, reference: str) -> float:
        """Seconds. Raises FhirServerUnavailable when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise FhirServerUnavailable(STEP, reference, "no answer within the time limit")
        return left


class FhirHttp:
    """`base_url` ends before the resource types (".../fhir"); for as many threads as `pool_size`. No exception of the HTTP client
    leaves this class. A server that refuses every question needs a person: that is an alarm once, until it answers again."""

    def __init__(self, base_url: str, access: HttpAccess, pool_size: int) -> None:
        """Raises SettingsInvalid when `access` cannot be used."""
        self._base = base_url.rstrip("/")
        self._authorization = Authorization(access, "fhir", FhirServerUnavailable)
        self._session = requests.Session()
        access.prepare(self._session)
        self._session.headers.update({"Accept": _JSON, "Content-Type": _JSON})
        self._session.mount(self._base, requests.adapters.HTTPAdapter(pool_maxsize=pool_size, max_retries=0))
        self._refuses_all = Spell()
        for name in ("urllib3", "requests"):  # they print URLs, and a URL may hold an identifier
            logging.getLogger(name).setLevel(logging.ERROR)

    def close(self) -> None:
        self._session.close()

    def probe(self, limit: TimeLimit) -> None:
        """Whether it could take a report now. Raises FhirServerUnavailable."""
        status = self._asked_whether_well("probe", limit)
        if status != requests.codes.ok:
            raise FhirServerUnavailable(STEP, "probe", f"HTTP {status}")

    def read(self, name: str, limit: TimeLimit) -> Resource | None:
        """`name`: "Type/id". None when it was never there or is deleted. Raises as `bundle`."""
        status, content = self._exchange("GET", f"/{name}", name, limit)
        if status in (requests.codes.not_found, requests.codes.gone):
            return None
        return _resource(status, content, name)

    def bundle(self, method: str, path: str, reference: str, limit: TimeLimit, body: Resource | None = None) -> Resource:
        """The Bundle that answers a search or a transaction. Raises FhirServerUnavailable, Conflict, ResourceRefused,
        AccessRefused, ItemNotServed."""
        answer = _resource(*self._exchange(method, path, reference, limit, body), reference)
        if answer.get("resourceType") != "Bundle":
            raise FhirServerUnavailable(STEP, reference, "the answer is no Bundle")
        return answer

    def _exchange(
        self, method: str, path: str, reference: str, limit: TimeLimit, body: Resource | None = None
    ) -> tuple[int, bytes]:
        status, content = self._send(method, path, reference, limit, body)
        if status in _REFUSED:
            if (well := self._asked_whether_well(reference, limit)) != requests.codes.ok:
                raise FhirServerUnavailable(STEP, reference, f"HTTP {status}, and HTTP {well} to a question about nobody")
            # it may be let in since: a token that was renewed between the two must cost no report
            status, content = self._send(method, path, reference, limit, body)
        elif status == requests.codes.internal_server_error:
            if self._is_well(reference, limit):
                raise ItemNotServed(STEP, reference, f"HTTP {status}, though the server is well")
        elif status < requests.codes.internal_server_error:
            self._note_answer()
        return status, content

    def _is_well(self, reference: str, limit: TimeLimit) -> bool:
        try:
            return bool(self._asked_whether_well(reference, limit) == requests.codes.ok)
        except FhirServerUnavailable:
            return False

    def _asked_whether_well(self, reference: str, limit: TimeLimit) -> int:
        """The status of the answer. Raises FhirServerUnavailable, of one that refuses this too."""
        status, _ = self._send("GET", _PROBE, reference, limit)
        if status in _REFUSED:
            raise self._refusing(reference, f"HTTP {status}: check the token and its permissions")
        if status == requests.codes.ok:
            self._note_answer()
        return status

    def _send(self, method: str, path: str, reference: str, limit: TimeLimit, body: Resource | None = None) -> tuple[int, bytes]:
        """With a token that the server no longer takes renewed once."""
        data = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        authorization = self._header(reference, limit)
        status, content = self._sent(method, path, reference, limit, data, authorization)
        if status == requests.codes.unauthorized and self._authorization.refused(authorization):
            again = self._header(reference, limit)
            if again != authorization:
                return self._sent(method, path, reference, limit, data, again)
        return status, content

    def _header(self, reference: str, limit: TimeLimit) -> str | None:
        try:
            return self._authorization.header(limit.left(reference))
        except AccessRefused as error:  # by the token endpoint: without a token nothing goes
            raise self._refusing(reference, error.reason) from None

    def _sent(
        self, method: str, path: str, reference: str, limit: TimeLimit, data: bytes | None, authorization: str | None
    ) -> tuple[int, bytes]:
        left = limit.left(reference)
        headers = {"Cache-Control": "no-cache"} | ({"Authorization": authorization} if authorization else {})
        try:
            with self._session.request(
                method,
                self._base + path,
                data=data,
                headers=headers,
                timeout=(min(_CONNECT_TIMEOUT_S, left), left),
                allow_redirects=False,
                stream=True,
            ) as response:
                received = bytearray()
                while chunk := response.raw.read1(65536, decode_content=True):
                    received += chunk
                    limit.left(reference)
                    if len(received) > _ANSWER_LIMIT:
                        raise FhirServerUnavailable(STEP, reference, "the answer is too large")
                return response.status_code, bytes(received)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise FhirServerUnavailable(STEP, reference, tls_failure(error) or type(error).__name__) from None

    def _refusing(self, reference: str, why: str) -> FhirServerUnavailable:
        reason = f"the server refuses everything: {why}"
        if self._refuses_all.begin():
            _log.error("nothing is delivered until a person acts", error=reason, alarm="fhir-server-refuses-everything")
        return FhirServerUnavailable(STEP, reference, reason)

    def _note_answer(self) -> None:
        if self._refuses_all.end():
            _log.info("the FHIR server answers again")


def _resource(status: int, body: bytes, reference: str) -> Resource:
    """The resource of a 2xx answer; else the error whose name says what happens next."""
    if status in _REFUSED:
        raise AccessRefused(STEP, reference, f"HTTP {status}, though the server answers other questions: check the permissions")
    if status in (requests.codes.conflict, requests.codes.precondition_failed):
        raise Conflict(STEP, reference, f"HTTP {status}: changed by somebody else at the same time")
    if status in (requests.codes.request_timeout, requests.codes.too_many_requests):
        raise FhirServerUnavailable(STEP, reference, f"HTTP {status}")
    if status in (requests.codes.not_found, requests.codes.method_not_allowed) and not body.lstrip().startswith(b"{"):
        # not the word of a FHIR server (it explains itself in an OperationOutcome): a wrong address, a proxy before its server
        raise FhirServerUnavailable(STEP, reference, f"HTTP {status} from something that is no FHIR server")
    if 400 <= status < 500:
        raise ResourceRefused(STEP, reference, f"HTTP {status}: see the OperationOutcome", body)
    if not 200 <= status < 300:  # 5xx; or a redirect: then the address is not that of a FHIR server
        raise FhirServerUnavailable(STEP, reference, f"HTTP {status}")
    try:
        answer: Any = json.loads(body)
    except ValueError:
        raise FhirServerUnavailable(STEP, reference, f"HTTP {status}, but the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise FhirServerUnavailable(STEP, reference, f"HTTP {status}, but the answer is no resource")
    return answer
