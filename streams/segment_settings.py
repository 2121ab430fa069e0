"""Settings of the archive of the log."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from streams import topics
from streams.section import Section


def _can_be_archived(name: str) -> str:
    found = next((topic for topic in topics.ALL if topic.name == name), None)
    if found is None or found.compacted:
        raise ValueError(f"{name} is no topic that can be archived (radstream topics list; a compacted one keeps what it must)")
    return name


def _folder_or_s3(url: str) -> str:
    scheme, parted, bucket = url.partition("://")
    if not url or (parted and (scheme != "s3" or not bucket or bucket.startswith("/"))):
        raise ValueError("is neither a folder nor s3://BUCKET/PREFIX")
    return url


class SegmentSettings(Section):
    #: a folder or s3://BUCKET/PREFIX, with endpoint and keys as of the object store; None: nothing is archived
    url: Annotated[str, AfterValidator(_folder_or_s3)] | None = None
    topics: tuple[Annotated[str, AfterValidator(_can_be_archived)], ...] = (
        topics.HL7_RAW.name,
        topics.RESULTS.name,
        topics.DELIVERIES.name,
    )
    #: bytes of records, before compression, from which on a segment is closed; each partition holds one in memory, and a file must
    #: come and go within one call
    size: Annotated[int, Field(ge=1024 * 1024, le=128 * 1024 * 1024)] = 32 * 1024 * 1024
    #: from the time of its first record until it is closed, however small: else years of it are more files than anybody lists
    age_s: Annotated[float, Field(ge=600)] = 3600.0
