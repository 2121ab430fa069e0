"""The radiograph with its located findings drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from schemas.findings import DEMONSTRATION, Findings
from schemas.ports import Radiograph

_FINDING = (255, 196, 0)
_HEIGHT = 1200


def draw(radiograph: Radiograph, findings: Findings, target: Path) -> None:
    """Writes a PNG of 1,200 lines: window over the 0.5th to the 99.5th percentile, a box and a probability per finding."""
    pixels = radiograph.pixels.astype(np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    scale = _HEIGHT / grey.shape[0]
    image = Image.fromarray(grey).convert("RGB").resize((round(grey.shape[1] * scale), _HEIGHT), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=22)
    for finding in findings.findings:
        region = finding.region
        if region.sop_instance_uid != radiograph.sop_instance_uid:
            continue
        left, top = region.left * scale, region.top * scale
        pen.rectangle((left, top, left + region.width * scale, top + region.height * scale), outline=_FINDING, width=4)
        label = f"{finding.ordinal}  {finding.kind.value}  {finding.probability:.0%}"
        box = pen.textbbox((left, top - 30), label, font=font)
        pen.rectangle((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2), fill=(0, 0, 0))
        pen.text((left, top - 30), label, fill=_FINDING, font=font)
    model = f"{findings.model.name} {findings.model.version}. " if findings.model else ""
    pen.rectangle((0, _HEIGHT - 36, image.width, _HEIGHT), fill=(0, 0, 0))
    pen.text((12, _HEIGHT - 30), model + DEMONSTRATION, fill=(255, 255, 255), font=ImageFont.load_default(size=18))
    image.save(target)
