"""A FHIR R4 server over its REST interface (R4 http.html): the port ReportStore.

Blocking HTTP in a bounded thread pool of its own, so that a hung server starves nobody else. No exception of the HTTP client
leaves this file, and nothing here logs: an answer may quote a patient.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import requests
import urllib3

from schemas.errors import AccessRefused, Conflict, FhirServerUnavailable, InvalidResource, ItemNotServed, ResourceRefused
from schemas.ports import Acknowledgement
from schemas.renderings.fhir.envelope import Envelope, Resource, open_bundle, sequence_of

_STEP = "fhir"
_JSON = "application/fhir+json"
_CONNECT_TIMEOUT_S = 3.0
_ANSWER_LIMIT = 64 * 1024 * 1024
#: Two transactions at once (the same report, or the first use of a Device): the loser reads again and decides again. HAPI's own
#: header X-Retry-On-Version-Conflict would repeat the stale If-Match ten times, for five seconds, and lose all the same.
_ATTEMPTS = 5
_BACK_OFF_S = 0.05
#: R4 diagnostic-report-status: only a person makes a report one of these (rule 10)
_VERIFIED = frozenset({"final", "amended", "corrected", "appended"})
#: asked after a 500: the database must answer (/metadata needs none), and no resource is read, which may be the broken one
_PROBE = "/DiagnosticReport?identifier=urn:radstream:probe%7Cnobody&_count=1"
_VERSIONED = re.compile(r"(?:^|/)(DiagnosticReport/[^/]+/_history/[^/]+)\Z")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Deadline:
    """One time limit over all requests of one call. Monotonic: it measures waiting, it dates nothing."""

    at: float

    def left(self, reference: str) -> float:
        left = self.at - time.monotonic()
        if left <= 0:
            raise FhirServerUnavailable(_STEP, reference, "no answer within the time limit")
        return left


class FhirServer:
    """`base_url` ends before the resource types (".../fhir"); `timeout_s` limits each call as a whole, however many requests
    it needs; `token`: a bearer token. Connections: `pool_size`."""

    def __init__(self, base_url: str, *, timeout_s: float = 20.0, token: str | None = None, pool_size: int = 4) -> None:
        self._base = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(max_workers=pool_size, thread_name_prefix="fhir")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no password from the environment: settings alone say where reports go
        self._session.headers.update({"Accept": _JSON, "Content-Type": _JSON})
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.mount(self._base, requests.adapters.HTTPAdapter(pool_maxsize=pool_size, max_retries=0))
        for name in ("urllib3", "requests"):  # they print URLs, and a URL may hold an identifier
            logging.getLogger(name).setLevel(logging.ERROR)

    async def put(self, bundle: bytes) -> Acknowledgement:
        """See ReportStore.put."""
        try:
            envelope = open_bundle(bundle)
        except ValueError as error:
            raise InvalidResource(_STEP, "bundle", str(error)) from None
        return await self._run(_name(envelope.report), lambda deadline: self._put(envelope, deadline))

    async def search_reports(self, accession_number: str) -> list[Resource]:
        """The DiagnosticReports with this identifier value, whoever assigned it. Errors as `put`."""
        value = quote(re.sub(r"([\\$,|])", r"\\\1", accession_number), safe="")  #: R4 search.html#escaping
        path = f"/DiagnosticReport?identifier={value}"

        def search(deadline: _Deadline) -> list[Resource]:
            found = self._answer("GET", path, "search", deadline)
            return [entry["resource"] for entry in found.get("entry", ())]

        return await self._run("search", search)

    async def read(self, reference: str) -> Resource | None:
        """`reference`: "Type/id". None when it was never there or is deleted. Errors as `put`."""
        return await self._run(reference, lambda deadline: self._read(reference, deadline))

    async def close(self) -> None:
        """Waits for no thread: each ends by its own deadline."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    # ------------------------------------------------------------------------------------------- below: in the threads

    async def _run(self, reference: str, work: Callable[[_Deadline], _T]) -> _T:
        deadline = _Deadline(time.monotonic() + self._timeout_s)
        waiting = asyncio.get_running_loop().run_in_executor(self._pool, work, deadline)
        try:
            # the thread watches the deadline too; a peer that sends its headers byte by byte it would not see
            async with asyncio.timeout(self._timeout_s):
                return await waiting
        except TimeoutError:
            raise FhirServerUnavailable(_STEP, reference, "no answer within the time limit") from None

    def _put(self, envelope: Envelope, deadline: _Deadline) -> Acknowledgement:
        name = _name(envelope.report)
        for attempt in range(_ATTEMPTS):
            current = self._read(name, deadline)
            if current is not None and current.get("status") in _VERIFIED:
                said = f"a person has made the report {current['status']}: a machine does not replace it"
                raise ResourceRefused(_STEP, name, said)
            if current is not None and sequence_of(current) > envelope.sequence:
                return Acknowledgement(f"{name}/_history/{_version(current)}", superseded=True)
            try:
                return self._transact(envelope, current, deadline, first=attempt == 0)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(min(_BACK_OFF_S * 2**attempt, deadline.left(name)))
        raise AssertionError("unreachable")

    def _transact(self, envelope: Envelope, current: Resource | None, deadline: _Deadline, *, first: bool) -> Acknowledgement:
        name = _name(envelope.report)
        entries = [_entry(resource) for resource in envelope.resources]
        condition = entries[envelope.resources.index(envelope.report)]["request"]
        if current is not None:
            if version := _version(current):  # a server need not keep versions (R4 http.html#versions)
                condition["ifMatch"] = f'W/"{version}"'
        elif first:
            # "must not exist yet": HAPI ignores If-None-Match on PUT but compares version 0. A server that has no current
            # version to match says 412 (RFC 9110 13.1.1); then the second attempt goes without.
            condition["ifMatch"] = 'W/"0"'
        entries += [_entry(old) for old in self._superseded(envelope, current, deadline)]
        transaction = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        answer = self._answer("POST", "", name, deadline, transaction)
        return Acknowledgement(_stored(answer, name))

    def _superseded(self, envelope: Envelope, current: Resource | None, deadline: _Deadline) -> list[Resource]:
        """What the report on the server lists and the new one does not, as `entered-in-error`."""
        kept = {_name(resource) for resource in envelope.resources}
        listed = [result.get("reference", "") for result in (current or {}).get("result", ())]
        old = ["/".join(reference.split("/")[-2:]) for reference in listed]
        found = [self._read(reference, deadline) for reference in old if reference not in kept]
        return [_entered_in_error(resource) for resource in found if resource is not None]

    def _read(self, reference: str, deadline: _Deadline) -> Resource | None:
        status, body = self._exchange("GET", f"/{reference}", reference, deadline)
        if status in (requests.codes.not_found, requests.codes.gone):
            return None
        return _resource(status, body, reference)

    def _answer(self, method: str, path: str, reference: str, deadline: _Deadline, body: Resource | None = None) -> Resource:
        answer = _resource(*self._exchange(method, path, reference, deadline, body), reference)
        if answer.get("resourceType") != "Bundle":
            raise FhirServerUnavailable(_STEP, reference, "the answer is no Bundle")
        return answer

    def _exchange(
        self, method: str, path: str, reference: str, deadline: _Deadline, body: Resource | None = None
    ) -> tuple[int, bytes]:
        status, answer = self._send(method, path, reference, deadline, body)
        if status == requests.codes.internal_server_error and self._is_well(reference, deadline):
            raise ItemNotServed(_STEP, reference, f"HTTP {status}, though the server is well")
        return status, answer

    def _is_well(self, reference: str, deadline: _Deadline) -> bool:
        try:
            status, _ = self._send("GET", _PROBE, reference, deadline)
        except FhirServerUnavailable:
            return False
        return bool(status == requests.codes.ok)

    def _send(self, method: str, path: str, reference: str, deadline: _Deadline, body: Resource | None = None) -> tuple[int, bytes]:
        left = deadline.left(reference)
        data = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        try:
            with self._session.request(
                method,
                self._base + path,
                data=data,
                headers={"Cache-Control": "no-cache"},
                timeout=(min(_CONNECT_TIMEOUT_S, left), left),
                allow_redirects=False,
                stream=True,
            ) as response:
                received = bytearray()
                while chunk := response.raw.read1(65536, decode_content=True):
                    received += chunk
                    deadline.left(reference)
                    if len(received) > _ANSWER_LIMIT:
                        raise FhirServerUnavailable(_STEP, reference, "the answer is too large")
                return response.status_code, bytes(received)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise FhirServerUnavailable(_STEP, reference, type(error).__name__) from None


def _name(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _version(resource: Resource) -> str:
    return str(resource.get("meta", {}).get("versionId", ""))


def _entry(resource: Resource) -> dict[str, Any]:
    """A PUT on the resource's own id; the fullUrl is what `urn:uuid:` references of the Bundle resolve to."""
    return {
        "fullUrl": f"urn:uuid:{resource['id']}",
        "resource": resource,
        "request": {"method": "PUT", "url": _name(resource)},
    }


def _entered_in_error(observation: Resource) -> Resource:
    meta = {name: value for name, value in observation.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    return observation | {"status": "entered-in-error", "meta": meta}


def _resource(status: int, body: bytes, reference: str) -> Resource:
    """The resource of a 2xx answer; else the error whose name says what happens next."""
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        raise AccessRefused(_STEP, reference, f"HTTP {status}: check the token and its permissions")
    if status in (requests.codes.conflict, requests.codes.precondition_failed):
        raise Conflict(_STEP, reference, f"HTTP {status}: changed by somebody else at the same time")
    if status in (requests.codes.request_timeout, requests.codes.too_many_requests):
        raise FhirServerUnavailable(_STEP, reference, f"HTTP {status}")
    if status in (requests.codes.not_found, requests.codes.method_not_allowed) and not body.lstrip().startswith(b"{"):
        # not the word of a FHIR server (it explains itself in an OperationOutcome): a wrong address, a proxy before its server
        raise FhirServerUnavailable(_STEP, reference, f"HTTP {status} from something that is no FHIR server")
    if 400 <= status < 500:
        raise ResourceRefused(_STEP, reference, f"HTTP {status}: see the OperationOutcome", body)
    if not 200 <= status < 300:  # 5xx; or a redirect: then the address is not that of a FHIR server
        raise FhirServerUnavailable(_STEP, reference, f"HTTP {status}")
    try:
        answer = json.loads(body)
    except ValueError:
        raise FhirServerUnavailable(_STEP, reference, f"HTTP {status}, but the answer is not JSON") from None
    if not isinstance(answer, dict):
        raise FhirServerUnavailable(_STEP, reference, f"HTTP {status}, but the answer is no resource")
    return answer


def _stored(answer: Resource, name: str) -> str:
    """The versioned reference of the report in a transaction-response."""
    for entry in answer.get("entry", ()):
        location = _VERSIONED.search(entry.get("response", {}).get("location", ""))
        if location and location[1].startswith(f"{name}/"):
            return location[1]
    raise FhirServerUnavailable(_STEP, name, "the answer to the transaction does not name the report")
