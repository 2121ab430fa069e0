"""MLLP framing: whatever the network does to the bytes, the same frames come out and no byte is lost."""

from __future__ import annotations

import time
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.mllp import framing
from connectors.mllp.framing import Fault, Frame, FrameDecoder, Garbage, frame

MESSAGE = b"MSH|^~\\&|RIS|H\rPID|1\r"

#: bytes that matter to the framing are frequent, so that every boundary is met
_bytes = st.lists(
    st.one_of(
        st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH", b"FHS", b"M", b"\x1c\r", b"\x0bMSH|", b"x"]), st.binary(max_size=5)
    ),
    max_size=20,
).map(b"".join)
_content = st.binary(max_size=60).filter(lambda c: b"\x1c\r" not in c and b"\x0b" not in c and not c.endswith(b"\x1c"))


def decode(chunks: list[bytes], limit: int = 1000) -> list[Frame | Garbage]:
    decoder = FrameDecoder(limit)
    found = [item for chunk in chunks for item in decoder.feed(chunk)]
    return found + decoder.close()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(_content, max_size=6), st.lists(st.integers(0, 10**6), max_size=12))
def test_any_split_of_any_frames_gives_the_frames(contents: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(frame(content) for content in contents)
    assert decode(split(wire, cuts)) == [Frame(content) for content in contents]


@given(_bytes, st.lists(st.integers(0, 10**6), max_size=12), st.integers(1, 40))
@example(b"\x0bx\x1c\x0bMSH|", [], 1)  # a frame of the largest size, its carriage return left out: its end is no content
@example(b"\x0bx\x1c\n\x0bMSH|", [], 1)
def test_any_split_of_any_bytes_gives_the_same(data: bytes, cuts: list[int], limit: int) -> None:
    whole = decode([data], limit)
    assert decode(split(data, cuts), limit) == whole
    assert decode([data[i : i + 1] for i in range(len(data))], limit) == whole


@given(_bytes, st.integers(1, 40), st.integers(4, 12))
def test_how_far_is_looked_at_a_time_changes_nothing(data: bytes, limit: int, step: int) -> None:
    whole = decode([data], limit)
    with mock.patch.object(framing, "_STEP", step):
        assert decode([data], limit) == whole


def test_beginnings_without_ends_take_the_time_of_as_many_frames() -> None:
    """A quarter of a megabyte of them held every connection up for 11 s."""

    def seconds(unit: bytes) -> float:
        found = []
        for _ in range(3):  # the quickest: others share the machine
            begun = time.process_time()
            assert len(decode([unit * 64_000])) == 64_000
            found.append(time.process_time() - begun)
        return min(found)

    assert seconds(b"\x0bMSH") < 10 * seconds(b"\x0b\x1c\r")


@given(_bytes, st.integers(1, 40))
def test_no_byte_is_lost(data: bytes, limit: int) -> None:
    """What comes out is a subsequence of what went in, and only marks, line ends and blanks are left out."""
    out = b"".join(item.content for item in decode([data], limit))
    rest = iter(data)
    dropped = bytearray()
    for wanted in out:
        for byte in rest:
            if byte == wanted:
                break
            dropped.append(byte)
        else:
            pytest.fail("bytes came out that never went in")
    dropped.extend(rest)
    assert set(dropped) <= set(b"\x0b\x1c\r\n \t")


@given(_bytes)
def test_a_good_frame_survives_any_garbage_before_it(garbage: bytes) -> None:
    assert decode([garbage + frame(MESSAGE)])[-1] == Frame(MESSAGE)


def test_several_frames_in_one_segment() -> None:
    assert decode([frame(b"MSH|1") + frame(b"MSH|2")]) == [Frame(b"MSH|1"), Frame(b"MSH|2")]


def test_stray_bytes_between_frames_come_out_and_line_ends_do_not() -> None:
    wire = frame(b"MSH|1") + b"\r\n" + frame(b"MSH|2") + b"GET / HTTP/1.1" + frame(b"MSH|3")
    assert decode([wire]) == [
        Frame(b"MSH|1"),
        Frame(b"MSH|2"),
        Garbage(b"GET / HTTP/1.1", Fault.STRAY),
        Frame(b"MSH|3"),
    ]


@pytest.mark.parametrize("beginning", [b"MSH", b"FHS", b"BHS"])
def test_a_start_block_before_a_header_begins_a_new_frame(beginning: bytes) -> None:
    wire = b"\x0bMSH|unfinished\rPID|" + frame(beginning + b"|good")
    assert decode([wire]) == [Garbage(b"MSH|unfinished\rPID|", Fault.UNFINISHED), Frame(beginning + b"|good")]


def test_a_start_block_elsewhere_is_content() -> None:
    assert decode([frame(b"MSH|a\x0bb")]) == [Frame(b"MSH|a\x0bb")]


def test_an_end_block_without_carriage_return() -> None:
    """Content when something else follows; the end when the next frame or nothing follows."""
    assert decode([frame(b"MSH|a\x1cb")]) == [Frame(b"MSH|a\x1cb")]
    assert decode([b"\x0bMSH|1\x1c" + frame(b"MSH|2")]) == [Frame(b"MSH|1"), Frame(b"MSH|2")]
    assert decode([b"\x0bMSH|1\x1c\n" + frame(b"MSH|2")]) == [Frame(b"MSH|1"), Frame(b"MSH|2")]
    decoder = FrameDecoder()
    assert decoder.feed(b"\x0bMSH|1\x1c\n") == []
    assert decoder.awaits_carriage_return
    assert decoder.close() == [Frame(b"MSH|1")]
    assert decoder.feed(b"\x0bMSH|1\x1c") == []
    assert decoder.awaits_carriage_return
    assert decoder.close() == [Frame(b"MSH|1")]
    assert decoder.feed(b"\r" + frame(b"MSH|2")) == [Frame(b"MSH|2")]


def test_a_frame_at_the_limit_passes_and_one_over_it_comes_in_pieces() -> None:
    assert decode([frame(b"x" * 1000)], 1000) == [Frame(b"x" * 1000)]
    assert decode([frame(b"x" * 2001) + frame(b"MSH|2")], 1000) == [
        Garbage(b"x" * 1000, Fault.TOO_LARGE),
        Garbage(b"x" * 1000, Fault.TOO_LARGE_REST),
        Garbage(b"x", Fault.TOO_LARGE_REST),
        Frame(b"MSH|2"),
    ]


@pytest.mark.parametrize("opening", [b"", b"\x0b"])
def test_a_peer_that_never_ends_costs_no_memory(opening: bytes) -> None:
    decoder = FrameDecoder(100_000)
    decoder.feed(opening)
    taken = 0
    for _ in range(100):
        taken += sum(len(item.content) for item in decoder.feed(b"x" * 50_000))
        assert decoder.waiting <= 150_003
    assert taken + decoder.waiting == 5_000_000
