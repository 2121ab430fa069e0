"""What pynetdicom's threads ask, answered on the event loop."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_CREATE, N_SET

from connectors.dimse import instance_availability, performed_procedure_step
from connectors.dimse.answers import AGAIN_LATER, NO_UID, SUCCESS, Answer, to_refused
from connectors.dimse.data_set import reading
from connectors.dimse.performed_steps import PerformedSteps
from connectors.refusals import Refusals, raised_at
from schemas.case_store import Positions
from schemas.errors import Rejected, Unavailable
from schemas.identifiers import SOPInstanceUID, identity
from schemas.notices import StudyNoticed
from schemas.ports import Clock
from schemas.study_ports import RefusedChange, Tell

Refuse = Callable[[RefusedChange], Awaitable[None]]
"""Puts away what can never be read; when it returns it is safe. Raises BrokerUnavailable."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Message:
    """A request as received; `data_set` in its transfer syntax."""

    command: str
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae_title: str
    transfer_syntax_uid: str
    data_set: bytes

    def as_json(self) -> bytes:
        """Everything that it takes to read it, or to send it, again."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(said | {"data_set": base64.b64encode(self.data_set).decode("ascii")}).encode("ascii")


class Services:
    """Made on the event loop on which `tell`, `refuse` and `positions` run; `answer_s` is the time that an answer may take."""

    def __init__(
        self, positions: Positions, tell: Tell, refuse: Refuse, clock: Clock, *, default_accession_assigner: str, answer_s: float
    ) -> None:
        self._steps = PerformedSteps(positions, tell, clock)
        self._tell = tell
        self._refuse = refuse
        self._clock = clock
        self._assigner = default_accession_assigner
        self._answer_s = answer_s
        self._loop = asyncio.get_running_loop()
        self._acting: set[asyncio.Task[Any]] = set()
        self._refusals = Refusals()

    @property
    def handlers(self) -> list[evt.EventHandlerType]:
        return [(evt.EVT_N_CREATE, self._n_create), (evt.EVT_N_SET, self._n_set), (evt.EVT_REJECTED, self._rejected)]

    async def finish(self) -> None:
        """What is being done is done."""
        if self._acting:
            await asyncio.wait(self._acting)

    def abort(self) -> None:
        for task in self._acting:
            task.cancel()

    def _n_create(self, event: evt.Event) -> tuple[Dataset, Dataset | None]:
        request = event.request
        assert isinstance(request, N_CREATE)
        message = _message(event, "N-CREATE", request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, request.AttributeList)

        def act(uid: SOPInstanceUID) -> Coroutine[Any, Any, Answer]:
            data_set = event.attribute_list
            if message.sop_class_uid == instance_availability.SOP_CLASS_UID:
                return self._noticed(instance_availability.notice_of(data_set, uid, self._clock.now()))
            return self._steps.create(uid, performed_procedure_step.begun(data_set, message.calling_ae_title, self._assigner))

        made = None
        if request.AffectedSOPInstanceUID is None:
            made = Dataset()  # PS3.7 10.1.5.1.4: then the one who performs it assigns the UID
            made.AffectedSOPInstanceUID = message.sop_instance_uid
        return self._answered(message, act).as_data_set(), made

    def _n_set(self, event: evt.Event) -> tuple[Dataset, None]:
        request = event.request
        assert isinstance(request, N_SET)
        message = _message(event, "N-SET", request.RequestedSOPClassUID, request.RequestedSOPInstanceUID, request.ModificationList)

        def act(uid: SOPInstanceUID) -> Coroutine[Any, Any, Answer]:
            return self._steps.set(uid, performed_procedure_step.change_of(event.modification_list))

        return self._answered(message, act).as_data_set(), None

    def _rejected(self, event: evt.Event) -> None:
        caller = event.assoc.requestor
        why = "AE title, or too many associations"
        self._refusals.warn("an association is rejected", peer=caller.address, calling_ae_title=str(caller.ae_title), reason=why)

    def _answered(self, message: _Message, act: Callable[[SOPInstanceUID], Coroutine[Any, Any, Answer]]) -> Answer:
        """In a thread of pynetdicom: reads, then waits for the loop."""
        try:
            uid = SOPInstanceUID(message.sop_instance_uid)
        except ValueError:
            return NO_UID
        try:
            with reading("dicom", f"{message.command} {uid}"):
                doing = act(uid)
        except Rejected as error:
            doing = self._put_away(message, error)
        answer = asyncio.run_coroutine_threadsafe(self._in_time(doing, message), self._loop).result()
        if answer.status != SUCCESS.status:
            said = {"command": message.command, "sop_instance_uid": uid, "calling_ae_title": message.calling_ae_title}
            self._refusals.warn("a DICOM message is not taken", **said, status=f"0x{answer.status:04X}", reason=answer.comment)
        return answer

    async def _in_time(self, doing: Coroutine[Any, Any, Answer], message: _Message) -> Answer:
        task = asyncio.current_task()
        assert task is not None
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)
        try:
            async with asyncio.timeout(self._answer_s):
                return await doing
        except (Unavailable, TimeoutError):
            return AGAIN_LATER
        except Exception as error:  # noqa: BLE001 - pynetdicom would answer the same and say nothing to anybody
            _log.critical("a DICOM message failed", command=message.command, error=type(error).__name__, at=raised_at(error))
            return AGAIN_LATER

    async def _noticed(self, notice: StudyNoticed) -> Answer:
        await self._tell([notice])
        return SUCCESS

    async def _put_away(self, message: _Message, error: Rejected) -> Answer:
        await self._refuse(RefusedChange(message.as_json(), self._clock.now(), error))
        return to_refused(error)


def _message(event: evt.Event, command: str, sop_class_uid: Any, sop_instance_uid: Any, data_set: Any) -> _Message:
    content = b"" if data_set is None else data_set.getvalue()
    if sop_instance_uid is None:
        #: PS3.5 B.2: a UUID as UID; the same message gets the same one
        sop_instance_uid = f"2.25.{identity('sop-instance', str(sop_class_uid), hashlib.sha256(content).hexdigest()).int}"
    return _Message(
        command,
        str(sop_class_uid),
        str(sop_instance_uid),
        str(event.assoc.requestor.ae_title).strip(),
        str(event.context.transfer_syntax),
        content,
    )
