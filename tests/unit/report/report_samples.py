"""Records of one captioned photo and one failure, with text that would be harmful as markup."""

from pathlib import Path
from typing import Any

HARMFUL = '<script>alert("x")</script>'


def hypothesis(text: str, parent: int, objective: float, finished: bool = False) -> dict[str, Any]:
    terms = {"fluency": objective / 3, "image & <b>match</b>": objective * 2 / 3}
    return {"text": text, "parent": parent, "finished": finished, "objective": objective, "terms": terms}


STEPS = [
    {"beam": [hypothesis("An image of the", 0, 9.0), hypothesis("An image of a", 0, 9.5)]},
    {"beam": [hypothesis("An image of a cat", 1, 7.0), hypothesis(f"An image of the {HARMFUL}", 0, 8.0)]},
    {"beam": [hypothesis("An image of a cat.", 0, 6.0, True), hypothesis("An image of a cat on", 0, 6.5)]},
    {"beam": [hypothesis("An image of a cat.", 0, 6.0, True), hypothesis("An image of a cat on a", 1, 6.25)]},
]


def done(photo: Path, **changes: Any) -> dict[str, Any]:
    weighted = STEPS[-1]["beam"][0]["terms"]
    record = {
        "id": "chelsea",
        "status": "done",
        "image": str(photo),
        "license": "CC0",
        "source": "Stefan, https://example.org/?a=1&b=2",
        "references": ["A cat.", HARMFUL],
        "prefix": "An image of",
        "text": "An image of a cat.",
        "caption": "a cat.",
        "finished": True,
        "objective": 6.0,
        "terms": {
            name: {"raw": value / 2, "weight": 2.0, "weighted": value} for name, value in weighted.items()
        },
        "steps": STEPS,
    }
    return record | changes


def failed(**changes: Any) -> dict[str, Any]:
    record = {"id": HARMFUL, "status": "failed", "image": "gone.png", "error": f"cannot be read {HARMFUL}"}
    return record | changes
