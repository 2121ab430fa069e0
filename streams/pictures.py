"""Where the picture of an image lies in the object store."""

from __future__ import annotations


def picture_name(pixel_sha256: str) -> str:
    """By the digest of its stored pixels (`AnalysedImage.pixel_sha256`): the same pixels have one picture, whoever asks."""
    return f"images/{pixel_sha256}.png"
