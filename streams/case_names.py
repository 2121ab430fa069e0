"""What a record names, as the projection keeps it: the words by which all records of a case are found again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from schemas.discrepancies import DiscrepancyEvent
from schemas.events import OrderEvent, PatientEvent, ReportEvent
from schemas.findings import Findings, OrderReference
from schemas.identifiers import AccessionNumber, PatientIdentifier
from schemas.study_events import AnalysisRequested, StudyCompleted

Names = frozenset[str]
#: names by kind; of patients also by assigner, for one person has a number of each
Numbers = Mapping[str, Collection[str]]

_VALUE = "-value"
#: one case is whatever shares one of these
_OF_A_CASE = ("accession ", "placer ", "filler ", "study ")
_ALONE = ("accession ", "study ")
_PATIENT = "patient "
_LINE = ("placer", "filler")
_ACCESSION = f"accession{_VALUE}"


def accession_names(text: str) -> Names:
    """By which what a person types is looked up: value^assigner, or the value alone."""
    return _typed("accession", text)


def patient_names(text: str) -> Names:
    """Likewise."""
    return _typed("patient", text)


def model_name(reference: str) -> str:
    """Of NAME/VERSION."""
    return f"model {reference}"


def of_a_case(names: Iterable[str]) -> Names:
    """Those that make one case of several records. A patient has many cases, a value without its assigner is nobody's."""
    return frozenset(name for name in names if name.startswith(_OF_A_CASE))


def of_one_case_alone(names: Iterable[str]) -> Names:
    """Those that no two cases have: not the numbers of orders, of which some senders write one for all."""
    return frozenset(name for name in names if name.startswith(_ALONE))


def of_patients(names: Iterable[str]) -> Names:
    return frozenset(name for name in names if name.startswith(_PATIENT))


def numbers_of(names: Iterable[str]) -> Numbers:
    found: dict[str, set[str]] = defaultdict(set)
    for name in names:
        kind, _, value = name.partition(" ")
        found[f"{_PATIENT}{value.rpartition('^')[2]}" if name.startswith(_PATIENT) else kind].add(name)
    return found


def of_one_line(one: Numbers, other: Numbers, beside: Collection[str] = ()) -> bool:
    """They share an order number, and contradict each other in none, nor in a kind of `beside`. Some senders write one placer order
    number for all."""
    pairs = [(set(one.get(kind, ())), set(other.get(kind, ()))) for kind in (*_LINE, *beside)]
    return any(a & b for a, b in pairs[: len(_LINE)]) and all(not a or not b or a & b for a, b in pairs)


def may_be_of_one_case(one: Numbers, other: Numbers) -> bool:
    """And they may be of one case: of another patient they are not. The accession number of an order changes, and where no patient
    is in common it is all there is to tell by."""
    patients = [kind for kind in one if kind.startswith(_PATIENT)]
    same_patient = any(set(one[kind]) & set(other.get(kind, ())) for kind in patients)
    return of_one_line(one, other, patients if same_patient else (*patients, _ACCESSION))


Named = OrderEvent | ReportEvent | PatientEvent | StudyCompleted | AnalysisRequested | Findings | DiscrepancyEvent


def names_of(event: Named) -> Names:
    """Of what a request or an answer repeats only the study."""
    match event:
        case OrderEvent():
            replaced = [name for one in event.replaces for name in _order(one)]
            study = [] if event.study_instance_uid is None else [f"study {event.study_instance_uid}"]
            return frozenset([*_order(event), *replaced, *_patients(event.patients), *study])
        case ReportEvent():
            return frozenset([*_order(event), *_patients(event.patients)])
        case PatientEvent():
            return frozenset(_patients(event.named))
        case StudyCompleted():
            patients = [] if event.patient is None else [event.patient]
            return frozenset([f"study {event.study_instance_uid}", *_accession(event.accession_number), *_patients(patients)])
        case AnalysisRequested():
            return frozenset([f"study {event.subject.study_instance_uid}"])
        case Findings():
            model = [] if event.model is None else [model_name(f"{event.model.name}/{event.model.version}")]
            return frozenset([f"study {event.subject.study_instance_uid}", *model])
        case DiscrepancyEvent():
            return frozenset([f"study {event.study_instance_uid}"])


def _order(of: OrderEvent | ReportEvent | OrderReference) -> Iterable[str]:
    if of.placer_order_number is not None:
        yield f"placer {of.placer_order_number.text}"
    if of.filler_order_number is not None:
        yield f"filler {of.filler_order_number.text}"
    yield from _accession(of.accession_number)


def _accession(number: AccessionNumber | None) -> Iterable[str]:
    if number is not None:
        yield f"accession {number.text}"
        yield f"accession{_VALUE} {number.value}"


def _patients(identifiers: Iterable[PatientIdentifier]) -> Iterable[str]:
    for identifier in identifiers:
        yield f"{_PATIENT}{identifier.text}"
        yield f"patient{_VALUE} {identifier.value}"


def _typed(kind: str, text: str) -> Names:
    return frozenset((f"{kind} {text}", f"{kind}{_VALUE} {text}"))
