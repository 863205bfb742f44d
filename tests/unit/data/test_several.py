"""Tasks of several sources in one table."""

import pytest

from fuse_repro.data.facts import GeographyFacts
from fuse_repro.data.several import SeveralTasks
from fuse_repro.errors import UsageError


def test_tasks_stand_in_the_order_of_the_parts() -> None:
    tasks = SeveralTasks({"b": GeographyFacts(["P38"]), "a": GeographyFacts(["P30", "P36"])}).tasks()
    assert [task.name for task in tasks] == ["P38", "P30", "P36"]


def test_nothing_and_the_same_name_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one task"):
        SeveralTasks({})
    with pytest.raises(UsageError, match="P30"):
        SeveralTasks({"a": GeographyFacts(["P30"]), "b": GeographyFacts(["P30", "P36"])}).tasks()
