"""Character sets and separators of ORU^R01: what cannot be written is seen or refused, and never taken for something else."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidResource
from schemas.findings import FindingKind, NotAnalysedReason
from schemas.hl7v2.message import Message
from schemas.identifiers import PatientIdentifier
from schemas.renderings.hl7conformance import deviations
from schemas.renderings.hl7oru import oru_messages
from schemas.renderings.hl7oruterms import OruTerms
from tests.contract.example_findings import ACCESSION, finding, findings, not_analysed, subject
from tests.contract.oru_ris import part, read
from tests.unit.oru_files import FILES, STATES, TERMS


def test_big5_bytes_that_look_like_separators_are_no_separators() -> None:
    """MSH-4 of `oru_files.CHINESE`; a reader that decodes first finds it whole, and the segment as many fields long as it is."""
    data = FILES["present.zh-TW.hl7"]
    facility = "許功蓋醫院".encode("cp950")
    assert b"\\" in facility and data.count(facility) == 1
    assert part(read(data), read(data).segment("MSH"), 4) == "許功蓋醫院"
    assert Message.parse(data).header.value(4, 1) == "許功蓋醫院"


def test_what_the_character_set_lacks_is_seen_and_an_identifier_refused() -> None:
    terms = OruTerms(charset="BIG-5", sender=("radstream", "naïve"))
    assert b"|na?ve|" in oru_messages(STATES["present"], None, terms)[0]
    for value in ("naïve", "¥1"):  # the latter has a full-width double in Big5
        about = subject().model_copy(update={"patient": PatientIdentifier(value=value, assigner="H")})
        with pytest.raises(InvalidResource) as raised:
            oru_messages(findings(about), None, terms)
        assert value not in str(raised.value)
    # what cannot be written was never sent
    assert oru_messages(findings(), findings(about), terms) == oru_messages(findings(), None, terms)


def test_separators_in_values_are_escaped() -> None:
    state = findings(subject(accession=ACCESSION), finding(1, FindingKind.MASS))
    (data,) = oru_messages(state, None, OruTerms(sender=("a|b^c&d~e\\f\rg", "")))
    assert part(read(data), read(data).segment("MSH"), 3) == "a|b^c&d~e\\f g"
    assert b"|A 7001\\F\\x|" in data


def holds(codec: str, character: str) -> bool:
    return character.isprintable() and character.encode(codec, "replace").decode(codec) == character


def identifiers_in(codec: str) -> st.SearchStrategy[str]:
    """Any text that the set holds; not what HL7 calls null."""
    letters = [chr(code) for code in range(0x20, 0x3100) if holds(codec, chr(code))] + list("許功蓋餐育腫回年")
    texts = st.text(st.sampled_from("|^~\\&TFXE.") | st.sampled_from(letters), min_size=1, max_size=20).map(str.strip)
    return texts.filter(lambda text: text not in ("", '""'))


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_identifier_is_read_back_as_it_is(terms: OruTerms, data: st.DataObject) -> None:
    """hl7apy writes & as it stands and takes text like \\T\\ for an escape; bytes of Big5 look like both."""
    codec = {"UNICODE UTF-8": "utf-8", "BIG-5": "cp950"}[terms.charset]
    value, assigner = data.draw(identifiers_in(codec)), data.draw(st.sampled_from(["H", "許功蓋", "a|b"]))
    about = subject(orders=()).model_copy(update={"patient": PatientIdentifier(value=value, assigner=assigner)})
    (message,) = oru_messages(not_analysed(NotAnalysedReason.LATE, about), None, terms)
    assert Message.parse(message).segments[1].value(3, 1) == value.strip()
    assert Message.parse(message).segments[1].value(3, 4) == assigner
    assert len(read(message).segments("OBX")) == 6
    assert not [one for one in deviations(Message.parse(message)) if (one.place, one.value) != ("OBX-2", "CWE")]
