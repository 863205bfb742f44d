"""What counts for wandb: what is given, else its environment variables, else the defaults; and names that it takes."""

import re
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fuse_repro.errors import UsageError
from fuse_repro.loggers.wandb_settings import (
    LONGEST_NAME,
    NO_NAME,
    VARIABLES,
    WandbSettings,
    mended_name,
    settled,
)

TOLD = {
    "WANDB_MODE": "offline",
    "WANDB_PROJECT": "theirs",
    "WANDB_ENTITY": "team",
    "WANDB_RUN_GROUP": "group",
    "WANDB_NAME": "name",
    "WANDB_DIR": "/somewhere",
}


def test_nothing_said_gives_the_defaults() -> None:
    for environment in ({}, dict.fromkeys(TOLD, ""), dict.fromkeys(TOLD, " ")):
        found, lines = settled(WandbSettings(), environment)
        assert (found.mode, found.project, lines) == ("online", "fuse_repro", [])
        assert (found.entity, found.group, found.name, found.dir) == (None, None, None, None)


def test_a_variable_wins_over_a_default_and_a_given_value_over_both() -> None:
    found, _ = settled(WandbSettings(curves=3), TOLD)
    assert {VARIABLES[name]: value for name, value in asdict(found).items() if name in VARIABLES} == TOLD
    assert found.curves == 3
    own = {"mode": "online", "project": "ours", "entity": "me", "group": "g", "name": "n", "dir": "d"}
    found, _ = settled(WandbSettings(**own), TOLD)  # type: ignore[arg-type]
    assert {name: value for name, value in asdict(found).items() if name in VARIABLES} == own


@pytest.mark.parametrize(
    ("said", "meant"), [("dryrun", "offline"), ("run", "online"), ("disabled", "disabled")]
)
def test_modes_as_older_versions_name_them(said: str, meant: str) -> None:
    assert settled(WandbSettings(), {"WANDB_MODE": said})[0].mode == meant


def test_a_mode_or_an_entity_that_there_is_not() -> None:
    with pytest.raises(
        UsageError, match=r"^WANDB_MODE='on' is not allowed: one of online, offline, disabled"
    ):
        settled(WandbSettings(), {"WANDB_MODE": "on"})
    assert settled(WandbSettings(mode="offline"), {"WANDB_MODE": "on"})[0].mode == "offline"
    with pytest.raises(UsageError, match=r"^WANDB_ENTITY=.* is not allowed"):
        settled(WandbSettings(), {"WANDB_ENTITY": "a\x1b"})


@pytest.mark.parametrize(
    ("name", "value", "mended"),
    [
        ("project", "a\udcff", r"a\udcff".replace("\\", "-")),
        ("project", "a/b:c", "a-b-c"),
        ("project", "x" * 129, "x" * 128),
        ("group", "a\x1bb", r"a\x1bb"),
        ("name", "y" * 300, "y" * 128),
    ],
)
def test_a_name_that_wandb_forbids_is_mended_with_a_line(name: str, value: str, mended: str) -> None:
    for settings, environment in (
        (WandbSettings(**{name: value}), {}),  # type: ignore[arg-type]
        (WandbSettings(), {VARIABLES[name]: value}),
    ):
        found, lines = settled(settings, environment)
        assert getattr(found, name) == mended
        (line,) = lines
        assert line.startswith(f"takes no {name} called ")
        assert line.endswith(f"it is called {mended!r} there")


@given(some.text())
def test_a_mended_name_is_one_that_wandb_takes(name: str) -> None:
    mended = mended_name(name, NO_NAME)
    assert 0 < len(mended) <= LONGEST_NAME
    assert mended == mended.strip()
    assert mended.encode()
    assert not re.search(f"[{re.escape(NO_NAME)}]", mended)
    assert mended_name(mended, NO_NAME) == mended
