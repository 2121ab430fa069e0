"""A DICOM receiver in a process of its own, which may be killed: its port and its notices on standard output, and every log
there is on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

import structlog

from connectors.case_store import SqlCaseStore
from connectors.dimse.receiver import DicomReceiver
from schemas.notices import StudyNoticed
from schemas.study_ports import RefusedChange
from streams.clock import SystemClock


async def _tell(notices: Sequence[StudyNoticed]) -> None:
    for notice in notices:
        print(notice.model_dump_json(), flush=True)


async def _refuse(change: RefusedChange) -> None:
    print(change.error, flush=True)


async def main(database: str) -> None:
    receiver = DicomReceiver(SqlCaseStore(database), _refuse, SystemClock(), default_accession_assigner="SITE", port=0)
    await receiver.listen(_tell, asyncio.Event(), lambda: print(receiver.port, flush=True))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    logging.captureWarnings(True)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    asyncio.run(main(sys.argv[1]))
