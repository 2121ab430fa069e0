"""The archive of a sandbox: it can be read, and there is nothing in it that could write."""

from __future__ import annotations

from schemas.study_ports import StudyReader


class ReadOnlyArchive:
    """`StudyReader` of any archive. What is not one of its three questions cannot be asked."""

    __slots__ = ("describe", "instance", "studies_of")

    def __init__(self, archive: StudyReader) -> None:
        self.describe = archive.describe
        self.studies_of = archive.studies_of
        self.instance = archive.instance
