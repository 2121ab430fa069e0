"""Errors cross process borders whole, and name what happens next."""

import pickle

import pytest

from schemas import errors
from schemas.findings import NotAnalysedReason


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidResource("decode", "instance 1.2.3", "truncated"),
        errors.ResourceRefused("deliver", "study 1.2.3", "422", b'{"resourceType":"OperationOutcome"}'),
        errors.Unsuitable("analyse", "study 1.2.3", "a leg", NotAnalysedReason.WRONG_BODY_PART),
    ],
)
def test_an_error_survives_a_process_border(error: errors.RadstreamError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_a_receivers_answer_is_not_in_the_text() -> None:
    assert "Chen" not in str(errors.ResourceRefused("deliver", "study 1.2.3", "422", b"patient Chen unknown"))
