"""What is said of callers who are refused."""

from structlog.testing import capture_logs

from connectors.refusals import Refusals, raised_at


def test_two_callers_who_take_turns_are_told_of_once_each() -> None:
    refusals = Refusals()
    with capture_logs() as lines:
        for _ in range(3):
            for peer in ("10.0.0.1", "10.0.0.2"):
                refusals.warn("refused", peer=peer)
    assert [line["peer"] for line in lines] == ["10.0.0.1", "10.0.0.2"]


def test_where_an_error_was_raised_and_not_what_it_says() -> None:
    try:
        int("Mustermann")
    except ValueError as error:
        said = raised_at(error)
    assert said.startswith("test_refusals.py:") and "Mustermann" not in said
