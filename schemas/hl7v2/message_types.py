"""The messages that this engine uses. One list: the listener and the normaliser go by it, and a test holds the readers to it."""

from __future__ import annotations

#: MSH-9.1, MSH-9.2 (tables 0076, 0003)
ORDER_MESSAGES = (("ORM", "O01"), ("OMI", "O23"), ("OMG", "O19"))
REPORT_MESSAGES = (("ORU", "R01"),)
PATIENT_UPDATES = tuple(("ADT", f"A{number}") for number in ("01", "04", "05", "08", "31"))
PATIENT_MERGES = tuple(("ADT", f"A{number}") for number in ("18", "34", "40", "47"))
PATIENT_UNLINKS = (("ADT", "A37"),)

USED = frozenset((*ORDER_MESSAGES, *REPORT_MESSAGES, *PATIENT_UPDATES, *PATIENT_MERGES, *PATIENT_UNLINKS))
