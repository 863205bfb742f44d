"""A few damaged files for every reader; `make fuzz` tries many more."""

import pytest
from fuzz.attempt import Reader, attempt
from fuzz.campaign import campaign, sandbox
from fuzz.readers import all_readers

READERS = {reader.name: reader for reader in all_readers()}


@pytest.mark.parametrize("name", READERS)
def test_only_usage_errors_come_out(name: str) -> None:
    inputs = 5 if name.startswith("report") else 20  # a page with its plots takes seconds
    outcome = campaign(READERS[name], inputs=inputs, seed=0)
    assert outcome.inputs >= inputs
    assert "\n".join(f"{find.signature}: {find.content[:200]!r}" for find in outcome.finds.values()) == ""


def test_what_a_reader_must_not_do_is_noticed(tmp_path) -> None:
    def outside(folder) -> None:
        (folder.parent / "outside.txt").write_text("x")

    def run(folder) -> None:
        raise ZeroDivisionError

    with sandbox(tmp_path) as folder, pytest.raises(BaseException, match=r"open .*outside\.txt"):
        attempt(Reader("r", {"a": b""}, outside), "a", b"", folder)
    found = {
        find.signature
        for reader in [Reader("r", {"a": b"valid"}, lambda f: 1 / len((f / "a").read_bytes()))]
        for find in campaign(reader, inputs=60, seed=0).finds.values()
    }
    assert found == {"ZeroDivisionError in test_fuzz_smoke.py:<lambda>"}
