"""A replay keeps its rate on average, and never rushes: live work wants the same cores."""

from __future__ import annotations

from streams.replay.running import Pace

RATE = 200.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def after(clock: Clock, pace: Pace, inputs: int, cost_s: float, every_hundredth_s: float = 0.0) -> float:
    """Seconds for so many inputs, of so much work each; one that is ahead rests, as `Running` does."""
    began = clock.now
    for number in range(inputs):
        clock.now += every_hundredth_s if number % 100 == 99 else cost_s
        clock.now += max(0.0, pace.ahead())
    return clock.now - began


def test_what_a_snapshot_costs_is_made_up_for() -> None:
    clock = Clock()
    pace = Pace(RATE, clock.monotonic)
    assert abs(after(clock, pace, 2_000, 0.001, every_hundredth_s=0.08) - 10.0) < 0.1


def test_a_long_pause_is_not() -> None:
    clock = Clock()
    pace = Pace(RATE, clock.monotonic)
    after(clock, pace, 100, 0.001)
    clock.now += 60.0
    assert after(clock, pace, 1_000, 0.001) > 1_000 / RATE - 0.3


def test_without_a_rate_nobody_rests() -> None:
    clock = Clock()
    assert after(clock, Pace(None, clock.monotonic), 1_000, 0.001) < 1.001
