"""What cannot be made from a config is one line that names the key."""

import pytest
from omegaconf import OmegaConf

from fuse_repro.errors import UsageError
from fuse_repro.runners.build import build, located
from fuse_repro.runners.objective import term_roles, term_weights

TERM = {"_target_": "fuse_repro.objectives.ImageMatchTerm", "model": "vision", "weight": 1.0}
CONFIG = {
    "adapter": {"_target_": "fuse_repro.nowhere.Map"},
    "trainer": {"callback": {"_target_": "absent.Call"}},
}
CONFIG["trainer"] |= {"_target_": "builtins.dict"}


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "adapter",
            r"^adapter\._target_=fuse_repro\.nowhere\.Map cannot be used \(.*No module named.*\): give the full",
        ),
        ("trainer", r"^trainer\.callback\._target_=absent\.Call cannot be used"),
    ],
)
def test_a_target_that_cannot_be_imported(part: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        build(OmegaConf.create(CONFIG)[part])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", ["math.pi", "fuse_repro.objectives.ImageMachTerm", "nowhere", ""])
def test_nothing_that_can_be_called(target: str) -> None:
    with pytest.raises(UsageError, match=r"^runner\._target_=.* cannot be used"):
        located(target, "runner")


def test_what_is_located_is_not_called() -> None:
    assert located("fuse_repro.runners.build.located", "runner") is located


def test_a_value_that_was_not_given() -> None:
    config = OmegaConf.create({"dataset": {"_target_": "builtins.dict", "path": "???"}})
    with pytest.raises(
        UsageError, match=r"^dataset\.path has no value: give it one with dataset\.path=\.\.\.$"
    ):
        build(config.dataset)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (
            {key: value for key, value in TERM.items() if key != "model"},
            "objective.image has no model: a term has",
        ),
        ({key: value for key, value in TERM.items() if key != "weight"}, "objective.image has no weight"),
        ({"model": "vision"}, "objective.image has no _target_ and no weight"),
        (None, "objective.image has no _target_ and no weight"),
        (
            TERM | {"_target_": "fuse_repro.objectives.Absent"},
            "objective.image._target_=fuse_repro.objectives.Absent",
        ),
    ],
)
def test_a_term_that_is_none(term: dict | None, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        term_roles(OmegaConf.create({"objective": {"image": term}}).objective)
    assert str(caught.value).startswith(said)


def test_the_roles_of_the_terms_that_count() -> None:
    objective = OmegaConf.create({"image": TERM, "text": TERM | {"model": "encoder", "weight": 0}})
    assert term_roles(objective) == {"image": "vision"}
    assert term_weights(objective) == {"image": 1.0}
