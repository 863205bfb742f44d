"""Terms of use are asked for by the key that accepts them, and only for models that a run uses."""

from copy import deepcopy
from typing import Any

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.runners.terms_of_use import check_terms, unaccepted

GATED = {"name": "gated", "terms": "https://example.org/terms", "accept_terms": False}
FREE = {"name": "free"}
CAPTION: dict[str, Any] = {
    "models": {"lm": FREE, "vision": FREE, "other": GATED},
    "objective": {"image": {"model": "vision", "weight": 1.0}, "other": {"model": "other", "weight": 1.0}},
    "runner": {"prefix": "x"},
}
TRANSFER: dict[str, Any] = {
    "models": {"source": FREE, "target": GATED, "second": GATED},
    "objective": None,
    "runner": {"sources": ["source"], "target": "target"},
}


def changed(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    config = deepcopy(config)
    *parents, last = path.split(".")
    node = config
    for key in parents:
        node = node[key]
    node[last] = value
    return config


def test_the_key_is_named_whole() -> None:
    said = (
        "models.target is gated, which has terms of use: read https://example.org/terms, then accept them by "
    )
    with pytest.raises(UsageError) as caught:
        check_terms(TRANSFER)
    assert str(caught.value) == f"{said}models.target.accept_terms=true"
    check_terms(changed(TRANSFER, "models.target.accept_terms", True))


def test_several_models_at_once() -> None:
    note = unaccepted(changed(TRANSFER, "runner.sources", ["source", "second"]))
    assert str(note).endswith("by models.second.accept_terms=true models.target.accept_terms=true")


@pytest.mark.parametrize(
    ("config", "used"),
    [
        (CAPTION, True),
        (changed(CAPTION, "objective.other.weight", 0), False),
        (changed(CAPTION, "objective.other.weight", 0.0), False),
        (changed(CAPTION, "models.lm", GATED), True),
        (changed(TRANSFER, "runner.target", "source"), False),
        (changed(TRANSFER, "runner", {"transfer": {"sources": ["source"], "target": "target"}}), True),
        (changed(TRANSFER, "runner.sources", "source"), True),
        (changed(CAPTION, "models.vision", {"name": "pair", "text": GATED}), True),
        ({"models": {}, "objective": {"image": None}, "runner": None}, False),
    ],
)
def test_only_models_in_use_count(config: dict[str, Any], used: bool) -> None:
    assert (unaccepted(config) is not None) == used


def test_a_model_below_another_is_named_by_its_path() -> None:
    note = unaccepted(changed(CAPTION, "models.vision", {"name": "pair", "text": GATED}))
    assert "models.vision.text.accept_terms=true" in str(note)
