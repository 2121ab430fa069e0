"""A FHIR R4 server over its REST interface (R4 http.html): the port ReportStore.

Blocking HTTP in a bounded thread pool of its own, so that a hung server starves nobody else.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

import structlog

from connectors.fhir_http import STEP, FhirHttp, TimeLimit
from connectors.http_access import HttpAccess
from schemas.errors import Conflict, FhirServerUnavailable, InvalidResource, ResourceRefused
from schemas.ports import Acknowledgement
from schemas.renderings.fhir.codes import AI_ASSERTED
from schemas.renderings.fhir.envelope import ENTERED_IN_ERROR, VERIFIED, Envelope, Resource, open_bundle, sequence_of, with_sequence

#: Two transactions at once (the same report, or the first use of a Device): the loser reads again and decides again. HAPI's own
#: header X-Retry-On-Version-Conflict would repeat the stale If-Match ten times, for five seconds, and lose all the same.
_ATTEMPTS = 5
_BACK_OFF_S = 0.05
_VERSIONED = re.compile(r"(?:^|/)(DiagnosticReport/[^/]+/_history/[^/]+)\Z")

_T = TypeVar("_T")
_log = structlog.get_logger()


class FhirServer:
    """`base_url` ends before the resource types (".../fhir"); `timeout_s` limits each call as a whole, however many requests
    it needs; `pool_size` connections. A report that a person has verified there is never replaced by one of a machine; when what it
    was about does not hold (`Envelope.withdraws`) it becomes entered-in-error, its text untouched, and that is an alarm."""

    def __init__(self, base_url: str, *, timeout_s: float = 20.0, access: HttpAccess = HttpAccess(), pool_size: int = 4) -> None:
        """Raises SettingsInvalid when `access` cannot be used."""
        self._http = FhirHttp(base_url, access, pool_size)
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(max_workers=pool_size, thread_name_prefix="fhir")

    async def put(self, bundle: bytes) -> Acknowledgement:
        """See ReportStore.put. A server that refuses everything is FhirServerUnavailable, one that refuses this AccessRefused."""
        try:
            envelope = open_bundle(bundle)
        except ValueError as error:
            raise InvalidResource(STEP, "bundle", str(error)) from None
        return await self._run(_name(envelope.report), lambda limit: self._put(envelope, limit))

    async def search_reports(self, accession_number: str) -> list[Resource]:
        """The DiagnosticReports with this identifier value, whoever assigned it. Errors as `put`."""
        value = quote(re.sub(r"([\\$,|])", r"\\\1", accession_number), safe="")  #: R4 search.html#escaping
        path = f"/DiagnosticReport?identifier={value}"

        def search(limit: TimeLimit) -> list[Resource]:
            found = self._http.bundle("GET", path, "search", limit)
            return [entry["resource"] for entry in found.get("entry", ())]

        return await self._run("search", search)

    async def read(self, reference: str) -> Resource | None:
        """`reference`: "Type/id". None when it was never there or is deleted. Errors as `put`."""
        return await self._run(reference, lambda limit: self._http.read(reference, limit))

    async def probe(self) -> None:
        """Whether it could take a report now, without a trace there: for `radstream doctor`. Raises FhirServerUnavailable."""
        await self._run("probe", self._http.probe)

    async def close(self) -> None:
        """Waits for no thread: each ends by its own time limit."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    # ------------------------------------------------------------------------------------------- below: in the threads

    async def _run(self, reference: str, work: Callable[[TimeLimit], _T]) -> _T:
        limit = TimeLimit(time.monotonic() + self._timeout_s)
        waiting = asyncio.get_running_loop().run_in_executor(self._pool, work, limit)
        try:
            # the thread watches the limit too; a peer that sends its headers byte by byte it would not see
            async with asyncio.timeout(self._timeout_s):
                return await waiting
        except TimeoutError:
            raise FhirServerUnavailable(STEP, reference, "no answer within the time limit") from None

    def _put(self, envelope: Envelope, limit: TimeLimit) -> Acknowledgement:
        name = _name(envelope.report)
        for attempt in range(_ATTEMPTS):
            current = self._http.read(name, limit)
            status = (current or {}).get("status")
            if status in VERIFIED and not envelope.withdraws:
                raise ResourceRefused(STEP, name, f"a person has made the report {status}: a machine does not replace it")
            if current is not None and sequence_of(current) > envelope.sequence:
                return Acknowledgement(f"{name}/_history/{_version(current)}", superseded=True)
            try:
                if current is not None and envelope.withdraws and status in (*VERIFIED, ENTERED_IN_ERROR):
                    return self._withdraw(envelope, current, limit)
                return self._replace(envelope, current, limit, first=attempt == 0)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(min(_BACK_OFF_S * 2**attempt, limit.left(name)))
        raise AssertionError("unreachable")

    def _replace(self, envelope: Envelope, current: Resource | None, limit: TimeLimit, *, first: bool) -> Acknowledgement:
        """The report on the server becomes that of the envelope."""
        entries = [_entry(resource) for resource in envelope.resources]
        condition = entries[envelope.resources.index(envelope.report)]["request"]
        if current is not None:
            _only_if_unchanged(condition, current)
        elif first:
            # "must not exist yet": HAPI ignores If-None-Match on PUT but compares version 0. A server that has no current
            # version to match says 412 (RFC 9110 13.1.1); then the second attempt goes without.
            condition["ifMatch"] = 'W/"0"'
        kept = {_name(resource) for resource in envelope.resources}
        return self._transact(entries, envelope, self._listed(current, limit, kept), limit)

    def _withdraw(self, envelope: Envelope, current: Resource, limit: TimeLimit) -> Acknowledgement:
        """The report that a person made stays as written, and is withdrawn: R4 has for that, and for nothing else, the status
        "entered-in-error" ("withdrawn following a previous final release"). That of our state is not told beside it: there is one
        report, and "cancelled" would say that it never was final."""
        report = _entry(_in_error(with_sequence(current, envelope.sequence)))
        _only_if_unchanged(report["request"], current)
        answer = self._transact([report], envelope, self._listed(current, limit, set()), limit)
        if current["status"] != ENTERED_IN_ERROR:
            _log.error("a report that a person had verified is withdrawn", report=_name(current), alarm="verified-report-withdrawn")
        return answer

    def _listed(self, current: Resource | None, limit: TimeLimit, kept: set[str]) -> list[Resource]:
        """The Observations of ours that the report on the server lists, but for what is `kept`. A person may have added hers: those
        are not for us to withdraw."""
        listed = [result.get("reference", "") for result in (current or {}).get("result", ())]
        old = ["/".join(reference.split("/")[-2:]) for reference in listed]
        found = [
            self._http.read(reference, limit) for reference in old if reference.startswith("Observation/") and reference not in kept
        ]
        return [resource for resource in found if resource is not None and _by_ai(resource)]

    def _transact(
        self, entries: list[dict[str, Any]], envelope: Envelope, in_error: list[Resource], limit: TimeLimit
    ) -> Acknowledgement:
        name = _name(envelope.report)
        entries = entries + [_entry(_in_error(resource)) for resource in in_error]
        transaction = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        return Acknowledgement(_stored(self._http.bundle("POST", "", name, limit, transaction), name))


def _name(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _by_ai(resource: Resource) -> bool:
    """Whether its security labels say so: those of every resource of ours do."""
    labels = resource.get("meta", {}).get("security", ())
    return any((label.get("system"), label.get("code")) == (AI_ASSERTED.system, AI_ASSERTED.code) for label in labels)


def _version(resource: Resource) -> str:
    return str(resource.get("meta", {}).get("versionId", ""))


def _entry(resource: Resource) -> dict[str, Any]:
    """A PUT on the resource's own id; the fullUrl is what `urn:uuid:` references of the Bundle resolve to."""
    return {
        "fullUrl": f"urn:uuid:{resource['id']}",
        "resource": resource,
        "request": {"method": "PUT", "url": _name(resource)},
    }


def _only_if_unchanged(request: dict[str, Any], current: Resource) -> None:
    if version := _version(current):  # a server need not keep versions (R4 http.html#versions)
        request["ifMatch"] = f'W/"{version}"'


def _in_error(resource: Resource) -> Resource:
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in ("versionId", "lastUpdated")}
    return resource | {"status": ENTERED_IN_ERROR, "meta": meta}


def _stored(answer: Resource, name: str) -> str:
    """The versioned reference of the report in a transaction-response."""
    for entry in answer.get("entry", ()):
        location = _VERSIONED.search(entry.get("response", {}).get("location", ""))
        if location and location[1].startswith(f"{name}/"):
            return location[1]
    raise FhirServerUnavailable(STEP, name, "the answer to the transaction does not name the report")
