"""What every case store must do with what records name. Subclasses give `store` and `other`, two programs that share it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import create_engine, inspect

from schemas.case_store import CaseStore, TimelineEntry, Traced
from schemas.history import Span
from schemas.ports import Place
from tests.contract.due_items import NOON

RAW = Place("hl7.v2.raw", 3, 2**40)


def a_line(offset: int, topic: str = "t", partition: int = 0) -> TimelineEntry:
    return TimelineEntry(NOON + timedelta(minutes=offset), Place(topic, partition, offset), "type", f"line {offset}")


def as_traced(entry: TimelineEntry, names: set[str], cause: Place | None = None) -> Traced:
    return Traced(entry.place, entry.at, entry.type, frozenset(names), cause)


class TracesContract:
    async def test_records_are_found_by_what_they_name(self, store: CaseStore, other: CaseStore) -> None:
        order, study, stranger = a_line(1), a_line(0, "u"), a_line(2)
        for _ in range(2):
            await store.put_timeline(order, {"accession A1^RIS", "placer P1^HIS", "patient 4711^H"}, RAW)
            await store.put_timeline(stranger, {"patient 4711^H"}, RAW)
            await store.put_timeline(study, {"accession A1^RIS", "study 1.2"})
            await store.put_timeline(a_line(3), set())
        found = [
            as_traced(study, {"accession A1^RIS", "study 1.2"}),
            as_traced(order, {"accession A1^RIS", "placer P1^HIS", "patient 4711^H"}, RAW),
        ]
        assert await other.traced({"accession A1^RIS"}) == found
        assert await other.traced({"accession A1^RIS", "placer P1^HIS", "nobody"}) == found
        assert [one.place for one in await other.traced(["patient 4711^H"])] == [order.place, stranger.place]
        assert await other.traced({"accession A1"}) == await other.traced(()) == []

    async def test_more_names_than_one_statement_takes(self, store: CaseStore) -> None:
        await store.put_timeline(a_line(1), {f"study {number}" for number in range(2_500)})
        (found,) = await store.traced({f"study {number}" for number in range(2_500)})
        assert len(found.names) == 2_500

    async def test_what_is_known_of_a_partition(self, store: CaseStore, other: CaseStore) -> None:
        assert await store.named_spans() == []
        await store.put_timeline(a_line(3))  # as before names were kept
        for offset in (4, 5, 7, 5):  # 6: one that it could not read, or a marker of a transaction
            await store.put_timeline(a_line(offset), {"study 1.2"})
        await other.put_timeline(a_line(0, partition=1), set())
        assert await other.named_spans() == [Span("t", 0, 4, 6), Span("t", 0, 7, 8), Span("t", 1, 0, 1)]

    async def test_what_an_older_version_projected_in_between_is_not_known(self, store: CaseStore) -> None:
        await store.put_timeline(a_line(0), {"study 1.2"})
        await store.put_timeline(a_line(1))  # rolled back
        await store.put_timeline(a_line(2), {"study 1.2"})
        assert await store.named_spans() == [Span("t", 0, 0, 1), Span("t", 0, 2, 3)]

    async def test_names_are_found_by_line_in_a_database_of_before_too(self, store: CaseStore, other: CaseStore, url: str) -> None:
        await store.named_spans()
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP INDEX ix_line_names_line")
            await other.named_spans()
            assert [index["column_names"] for index in inspect(engine).get_indexes("line_names")] == [["line"]]
        finally:
            engine.dispose()

    async def test_a_timeline_that_is_projected_anew_gets_its_names(self, store: CaseStore) -> None:
        for offset in (2, 3):
            await store.put_timeline(a_line(offset))
        await store.put_timeline(a_line(4), {"study 1.2"})
        assert [one.place.offset for one in await store.traced({"study 1.2"})] == [4]
        await store.put_timeline(a_line(2), {"study 1.2"}, RAW)
        assert await store.named_spans() == [Span("t", 0, 2, 3), Span("t", 0, 4, 5)]  # what lies between is not known yet
        for offset in (3, 4):
            await store.put_timeline(a_line(offset), {"study 1.2"})
        assert await store.named_spans() == [Span("t", 0, 2, 5)]
        found = await store.traced({"study 1.2"})
        assert [(one.place.offset, one.cause) for one in found] == [(2, RAW), (3, None), (4, None)]
