"""What modalities and archives send, made in the test, and a service class user (pynetdicom) that sends it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

IAN = "1.2.840.10008.5.1.4.33"
MPPS = "1.2.840.10008.3.1.2.3.3"
VERIFICATION = "1.2.840.10008.1.1"
#: of no patient
NAME = "Mustermann^Erika"


def _made(**values: Any) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


def _reference(instance: str, **values: Any) -> Dataset:
    return _made(ReferencedSOPClassUID=ComputedRadiographyImageStorage, ReferencedSOPInstanceUID=instance, **values)


def notification(study: str, instances: dict[str, str]) -> Dataset:
    """An IAN; `instances` with their availability."""
    references = [
        _reference(instance, InstanceAvailability=availability, RetrieveAETitle="PACS")
        for instance, availability in instances.items()
    ]
    series = _made(SeriesInstanceUID=generate_uid(), ReferencedSOPSequence=references)
    return _made(StudyInstanceUID=study, ReferencedPerformedProcedureStepSequence=[], ReferencedSeriesSequence=[series])


def step(*studies: str, number: str = "A7", station: str = "CR1", **values: Any) -> Dataset:
    """An N-CREATE of MPPS."""
    scheduled = [
        _made(StudyInstanceUID=study, ReferencedStudySequence=[], AccessionNumber=number, ScheduledProcedureStepID="S1")
        for study in studies
    ]
    return _made(
        SpecificCharacterSet="ISO_IR 100",
        PatientName=NAME,
        PatientID="4711",
        ScheduledStepAttributesSequence=scheduled,
        PerformedProcedureStepID="P1",
        PerformedStationAETitle=station,
        PerformedProcedureStepStatus=values.pop("status", "IN PROGRESS"),
        Modality="CR",
        PerformedSeriesSequence=[],
        **values,
    )


def change(status: str | None = "COMPLETED", **series: Sequence[str]) -> Dataset:
    """An N-SET of MPPS; `series` by any name."""
    performed = [
        _made(
            SeriesInstanceUID=f"1.2.3.{len(name)}",
            PerformingPhysicianName=NAME,
            ReferencedImageSequence=[_reference(instance) for instance in instances],
            ReferencedNonImageCompositeSOPInstanceSequence=[],
        )
        for name, instances in series.items()
    ]
    said = _made(PerformedSeriesSequence=performed) if performed else Dataset()
    if status is not None:
        said.PerformedProcedureStepStatus = status
    return said


class Caller:
    """A service class user; an association for each message, as many modalities do it."""

    def __init__(
        self, port: int, *, title: str = "CR1", called: str = "RADSTREAM", tls: ssl.SSLContext | None = None, implicit: bool = False
    ) -> None:
        self._entity = AE(title)
        for sop_class in (IAN, MPPS, VERIFICATION):
            self._entity.add_requested_context(sop_class, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = 20
        self._where = {"addr": "127.0.0.1", "port": port, "ae_title": called, "tls_args": (tls, "127.0.0.1") if tls else None}

    def associate(self) -> Association:
        return self._entity.associate(**self._where)

    async def ask(self, asking: Callable[[Association], Dataset]) -> Dataset:
        """The status that came back; empty when nobody answered."""

        def exchange() -> Dataset:
            association = self.associate()
            if not association.is_established:
                return Dataset()
            try:
                return asking(association)
            finally:
                association.release()

        return await asyncio.to_thread(exchange)

    async def echo(self) -> Dataset:
        return await self.ask(lambda association: association.send_c_echo())

    async def create(self, sop_class: str, uid: str | None, data_set: Dataset) -> Dataset:
        return await self.ask(lambda association: association.send_n_create(data_set, sop_class, uid)[0])

    async def set(self, uid: str, data_set: Dataset) -> Dataset:
        return await self.ask(lambda association: association.send_n_set(data_set, MPPS, uid)[0])
