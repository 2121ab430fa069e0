"""PS3.15 A.5.1 (2024), the schema of audit messages, as far as ours can break it: names, order, number and values."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

#: elements of each, in their order: name and how many (?, *, + or one)
_CHILDREN = {
    "AuditMessage": ("EventIdentification", "ActiveParticipant+", "AuditSourceIdentification", "ParticipantObjectIdentification*"),
    "EventIdentification": ("EventID", "EventTypeCode*", "EventOutcomeDescription?"),
    "ActiveParticipant": ("RoleIDCode*", "MediaIdentifier?"),
    "AuditSourceIdentification": ("AuditSourceTypeCode*",),
    "ParticipantObjectIdentification": (
        "ParticipantObjectIDTypeCode",
        "ParticipantObjectName",
        "ParticipantObjectDetail*",
        "ParticipantObjectDescription*",
    ),
    "ParticipantObjectDescription": ("ParticipantObjectContainsStudy?",),
    "ParticipantObjectContainsStudy": ("StudyIDs*",),
}
_CODED = {"csd-code": r"\S.*", "codeSystemName": r"\S+", "originalText": r"\S.*", "displayName?": r"\S.*"}
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_ROLES = r"[1-9]|1[0-9]|2[0-6]"
#: attributes of each: name (? where it may be absent) and what it matches
_ATTRIBUTES: dict[str, dict[str, str]] = {
    "EventIdentification": {
        "EventActionCode?": "[CRUDE]",
        "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
        "EventOutcomeIndicator": "0|4|8|12",
    },
    "ActiveParticipant": {
        "UserID": r"\S.*",
        "UserIsRequestor": "true|false",
        "NetworkAccessPointID?": r"\S+",
        "NetworkAccessPointTypeCode?": "[1-5]",
    },
    "AuditSourceIdentification": {"AuditEnterpriseSiteID?": r"\S.*", "AuditSourceID": r"\S+"},
    "AuditSourceTypeCode": {"csd-code": "[1-9]"},
    "ParticipantObjectIdentification": {
        "ParticipantObjectID": r"\S.*",
        "ParticipantObjectTypeCode?": "[1-4]",
        "ParticipantObjectTypeCodeRole?": _ROLES,
    },
    "ParticipantObjectDetail": {"type": r"\S.*", "value": _BASE64},
    "StudyIDs": {"UID": r"[0-9.]+"},
    "EventID": _CODED,
    "EventTypeCode": _CODED,
    "RoleIDCode": _CODED,
    "ParticipantObjectIDTypeCode": _CODED,
}
_TEXT = {"EventOutcomeDescription", "ParticipantObjectName"}


def faults(message: Element) -> list[str]:
    """In words; empty: it is as the schema says."""
    found = [] if message.tag == "AuditMessage" else [f"the root is {message.tag}"]
    for element in message.iter():
        wanted = "".join(_group(name) for name in _CHILDREN.get(element.tag, ()))
        if not re.fullmatch(wanted, "".join(f"<{child.tag}>" for child in element)):
            found.append(f"{element.tag} holds {[child.tag for child in element]}")
        allowed = _ATTRIBUTES.get(element.tag, {})
        for name, pattern in allowed.items():
            value = element.get(name.rstrip("?"))
            if value is None and name.endswith("?"):
                continue
            if value is None or not re.fullmatch(pattern, value):
                found.append(f"{element.tag}/@{name} is {value}")
        found += [f"{element.tag}/@{name} is none" for name in set(element.keys()) - {name.rstrip("?") for name in allowed}]
        if element.text and element.tag not in _TEXT:
            found.append(f"{element.tag} holds text")
    return found


def _group(name: str) -> str:
    bare = name.rstrip("?*+")
    return f"(<{bare}>){name[len(bare) :]}"
