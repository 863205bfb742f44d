"""What was found of one thing that runs need."""

from dataclasses import dataclass

OK, OPTIONAL, BROKEN = "ok", "optional", "broken"
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        name: what was looked for.
        state: `ok`; `optional`: not there, and only some runs need it; `broken`: no run works without.
        found: what there is, in a few words.
        remedy: what to do; empty where nothing has to be done.
    """

    name: str
    state: str
    found: str
    remedy: str = ""
