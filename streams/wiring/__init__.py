"""The only place where objects meet: from settings to the body of each role.

Imports are made inside each function, so that a process loads only what its role needs: the listener never sees torch.
"""

from __future__ import annotations

from streams.role import Body, LoopFactory
from streams.wiring import edges, keeping, pictures, shadows, studies, walk

STEPS = ("normalise", "correlate", "analyse", "report", "project", "render", "shadow", "due", "keep")
#: one process each, in the order of a message's walk
ROLES = (
    "listen",
    "work normalise",
    "watch",
    "work correlate",
    "work analyse",
    "work report",
    "deliver",
    "work project",
    "work render",
    "work shadow",
    "work due",
    "work keep",
)


def body_of(role: str) -> Body:
    """What a role's process runs. Raises KeyError for a role that is none of ROLES."""
    return {
        "listen": edges.listen,
        "watch": studies.watch,
        "work normalise": walk.normalise,
        "work correlate": walk.correlate,
        "work analyse": walk.analyse,
        "work report": walk.report,
        "deliver": edges.deliver,
        "work project": walk.project,
        "work render": pictures.render,
        "work shadow": shadows.shadow,
        "work due": walk.due,
        "work keep": keeping.keep,
    }[role]


def loop_factory_of(role: str) -> LoopFactory | None:
    """uvloop where every message is a visit to sockets; asyncio's own loop, which faust knows, elsewhere (None)."""
    if role != "listen":
        return None
    import uvloop

    return uvloop.new_event_loop
