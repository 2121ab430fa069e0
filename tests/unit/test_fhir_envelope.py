"""What delivery reads of a Bundle, without a FHIR library."""

from __future__ import annotations

import pytest

from schemas.renderings.fhir.bundle import bundle_of
from schemas.renderings.fhir.envelope import open_bundle, sequence_of
from tests.contract.example_findings import (
    SITE,
    STUDY,
    finding,
    findings,
    subject,
    two_findings,
)


def test_the_envelope_tells_what_delivery_needs() -> None:
    of = two_findings(subject(7))
    envelope = open_bundle(bundle_of(of, SITE))
    assert (envelope.analysis_id, envelope.study_instance_uid, envelope.sequence) == (of.analysis_id, STUDY, 7)
    assert envelope.time == of.subject.triggered_at
    assert len(envelope.resources) == 6
    assert sequence_of(envelope.report) == 7
    assert sequence_of({"resourceType": "DiagnosticReport"}) == 0


@pytest.mark.parametrize(
    "old_and_new",
    [
        (b'"valuePositiveInt":1', b'"valuePositiveInt":0'),
        (b'"resourceType":"DiagnosticReport"', b'"resourceType":"Observation"'),
        (
            b'"identifier":{"system":"urn:ietf:rfc3986","value":"urn:uuid:',
            b'"identifier":{"system":"urn:ietf:rfc3986","value":"MRN',
        ),
        (b'"timestamp":"2026', b'"timestamp":"MRN'),
        (b"urn:oid:1.2.826.0.1.3680043.10.511.3.1", b"urn:oid:MRN"),
    ],
)
def test_a_bundle_that_is_not_ours_is_refused_without_a_word_of_it(old_and_new: tuple[bytes, bytes]) -> None:
    old, new = old_and_new
    value = bundle_of(findings(None, finding(1)), SITE)
    assert old in value
    with pytest.raises(ValueError, match=r"\Anot a Bundle of ai.findings\Z"):
        open_bundle(value.replace(old, new))
