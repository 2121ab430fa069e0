"""How a site's headers are read when images are chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streams.section import Section

#: at least a letter or a digit: a word of nothing would stand in every text
Word = Annotated[str, Field(pattern=r"[^\W_]")]
Words = tuple[Word, ...]

_BODY_PARTS: dict[Word, Words] = {
    "CHEST": ("THORAX", "TORAX", "LUNG", "LUNGS", "CXR", "POUMON", "PULMON"),
    "ABDOMEN": ("ABD", "KUB"),
    "SPINE": ("CSPINE", "TSPINE", "LSPINE", "HWS", "BWS", "LWS", "CERVICAL", "LUMBAR"),
    "SKULL": ("SCHADEL", "SCHAEDEL"),
    "RIB": ("RIBS",),
    "STERNUM": (),
    "CLAVICLE": (),
    "SHOULDER": ("SCHULTER",),
    "PELVIS": ("BECKEN",),
    "HIP": ("HUFTE", "HUEFTE"),
    "KNEE": ("KNIE",),
    "LEG": ("FEMUR", "TIBIA"),
    "ARM": ("HUMERUS", "FOREARM"),
    "ELBOW": (),
    "WRIST": (),
    "HAND": ("FINGER",),
    "ANKLE": (),
    "FOOT": ("FUSS",),
    "EXTREMITY": (),
}
_VIEWS: dict[Word, Words] = {
    "PA": ("FRONTAL",),
    "AP": ("FRONTAL",),
    "LATERAL": ("LAT", "LL", "RL", "PROFIL", "SEITLICH"),
    "OBLIQUE": ("OBL", "OBLI", "RAO", "LAO", "RPO", "LPO"),
    "DECUBITUS": ("DECUB", "LLD", "RLD"),
    "LORDOTIC": (),
}


class ChoosingSettings(Section):
    """Term of the model's card, or what is outside it → other words for it, in headers and in series and protocol texts."""

    modality_words: dict[Word, Words] = Field(default={})
    body_part_words: dict[Word, Words] = _BODY_PARTS
    view_words: dict[Word, Words] = _VIEWS
    #: in Image Type (value 3 and later) or the series text: made from the exposure, or for positioning
    processed_words: Words = (
        *("LOCALIZER", "SCOUT", "BONE SUPPRESSED", "BONE SUPPRESSION", "SOFT TISSUE", "BONE IMAGE"),
        *("SUBTRACTED", "SUBTRACTION", "ENHANCED"),
    )
    portable_words: Words = ("PORTABLE", "BEDSIDE", "MOBILE", "BETTLUNGE")
    #: when the headers tell no age, and the model is for some ages
    unknown_age: Literal["analyse", "refuse"] = "analyse"
