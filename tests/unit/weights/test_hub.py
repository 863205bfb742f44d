"""`source=hub` with the real client, against a server on loopback that speaks the hub's protocol."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hub_server
import pytest
import torch
from hub_server import HubServer, Refusal
from safetensors.torch import load_file, save, save_file

import fuse_repro
from fuse_repro.errors import UsageError
from fuse_repro.weights import resolve

ROOT = Path(fuse_repro.__file__).parents[1]
NET = "org/net"
NOWHERE = "nowhere"
CHUNK = 10 << 20  # what the hub's client writes at once
CODE = """
import json, sys
from fuse_repro.errors import UsageError
from fuse_repro.weights import resolve
for hub in json.loads(sys.argv[1]):
    try:
        print(json.dumps([str(resolve("m", "hub", hub=hub).directory), ""]))
    except UsageError as error:
        print(json.dumps(["", str(error)]))
"""


@dataclass
class Client:
    """A user's machine: the real client, its cache and ours.

    Attributes:
        hub: the server that it asks.
        folder: of both caches.
    """

    hub: HubServer
    folder: Path

    def start(self, revision: str | None = None, **environment: str) -> tuple[Path, str]:
        """One start of a program that needs the repository: the folder of its weights, and what was said."""
        (answer,) = self.ask([{"repo_id": NET, "revision": revision}], **environment)
        return answer

    def ask(self, wanted: list[dict[str, str | None]], **environment: str) -> list[tuple[Path, str]]:
        """One start that needs several repositories, one after the other."""
        self.hub.asked.clear()
        known = self.hub.environment(self.folder / "hub") | {
            "FUSE_REPRO_CACHE": str(self.folder / "ours"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-c", CODE, json.dumps(wanted)]
        done = subprocess.run(command, env=known | environment, capture_output=True, text=True, check=True)
        answers = (json.loads(line) for line in done.stdout.splitlines())
        return [(Path(folder or NOWHERE), said) for folder, said in answers]

    def left(self) -> set[str]:
        """What lies in our cache, but for locks."""
        ours = self.folder / "ours"
        return {path.name for path in ours.iterdir() if path.suffix != ".lock"} if ours.is_dir() else set()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with HubServer() as hub:
        yield Client(hub, tmp_path)


def files(value: float, elements: int = 300_000) -> dict[str, bytes]:
    """A small repository: weights that are all `value`, a config, and what is not for us."""
    return {
        "model.safetensors": save({"weight": torch.full((elements,), value)}, {"format": "pt"}),
        "config.json": b'{"model_type": "gpt2"}',
        "pytorch_model.bin": b"pickled",
        "onnx/config.json": b"{}",
    }


def first(folder: Path) -> float:
    return float(load_file(folder / "model.safetensors")["weight"][0])


def test_a_repository_becomes_an_entry_and_pickles_stay_where_they_are(client: Client) -> None:
    client.hub.add(NET, files(1.0))
    folder, said = client.start()
    assert said == ""
    assert first(folder) == 1.0
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "model.safetensors",
        "config.json",
        "entry.json",
    }
    assert client.left() == {folder.name}
    assert not [asked for asked in client.hub.asked if asked.path.endswith(".bin")]
    blob = (folder / "model.safetensors").stat()
    assert blob.st_nlink == 2  # the hub's own file, which costs no space
    again, _ = client.start()
    assert again == folder
    assert client.hub.asked == []


def test_a_pinned_revision_stays_what_it_was(client: Client) -> None:
    """A commit, and a branch such as an automatic conversion; the main branch has gone on since."""
    pinned = client.hub.add(NET, files(1.0))
    client.hub.add(NET, files(2.0), "refs/pr/15")
    client.hub.add(NET, files(3.0))
    answers = client.ask(
        [{"repo_id": NET, "revision": revision} for revision in (pinned, "refs/pr/15", None)]
    )
    assert [first(folder) for folder, _ in answers] == [1.0, 2.0, 3.0]


def test_a_cut_connection_is_taken_up_within_one_start(client: Client) -> None:
    client.hub.add(NET, files(1.0, 6_000_000))
    client.hub.cut = {"model.safetensors": CHUNK + 1000}
    folder, _ = client.start()
    assert first(folder) == 1.0
    assert client.hub.ranges("model.safetensors") == ["", f"bytes={CHUNK}-"]


def test_the_next_start_goes_on_where_the_last_one_was_cut(client: Client) -> None:
    """The hub hands out half of a file, and then refuses; the other half is all that the next start asks for."""
    content = files(1.0, 6_000_000)
    client.hub.add(NET, content)
    client.hub.cut, client.hub.then_refused = {"model.safetensors": CHUNK + 1000}, Refusal(410)
    folder, said = client.start()
    assert folder == Path(NOWHERE)
    assert "could not download org/net from the hub" in said
    (fetched,) = client.left()
    assert re.fullmatch(r"\.org--net-[0-9a-f]{12}\.fetched", fetched)
    (half,) = (client.folder / "ours" / fetched).iterdir()
    assert half.read_bytes() == content["model.safetensors"][:CHUNK]
    client.hub.refused = {}
    folder, said = client.start()
    assert (first(folder), said) == (1.0, "")
    assert client.hub.ranges("model.safetensors") == [f"bytes={CHUNK}-"]
    assert client.left() == {folder.name}


def test_what_is_left_of_another_file_is_no_part_of_this_one(client: Client) -> None:
    """The repository has changed in between, and a file of ours is longer than it may be."""
    client.hub.add(NET, files(1.0, 6_000_000))
    client.hub.cut, client.hub.then_refused = {"model.safetensors": CHUNK + 1000}, Refusal(410)
    client.start()
    changed = files(2.0, 6_000_000)
    client.hub.add(NET, changed)
    client.hub.refused = {}
    (fetched,) = client.left()
    (half,) = (client.folder / "ours" / fetched).iterdir()
    digest = hub_server._sha256(changed["model.safetensors"])
    half.with_name(digest).write_bytes(bytes(len(changed["model.safetensors"]) + 1))
    folder, _ = client.start()
    assert first(folder) == 2.0
    assert client.hub.ranges("model.safetensors") == [""]


REFUSALS = [
    (
        hub_server.GATED_STRANGER,
        r"org/net is gated on the hub \(401\): accept its terms at http://\S+/org/net, then log in \(`hf auth login`",
    ),
    (hub_server.GATED_USER, r"org/net is gated on the hub \(403\): accept its terms at"),
    (
        hub_server.MISSING,
        r"the hub shows no repository org/net \(401\): check hub\.repo_id; if it is a private one",
    ),
    (hub_server.MISSING_USER, r"the hub shows no repository org/net \(404\): check hub\.repo_id"),
    (hub_server.OLD_TOKEN, r"the hub refuses org/net to you \(401\): log in again"),
    (Refusal(403), r"the hub refuses org/net to you \(403\): log in again"),
    (
        hub_server.TOO_MANY,
        r"the hub takes no more requests of yours for now \(429\): start again in 300 s, what has",
    ),
    (Refusal(500), r"could not download org/net from the hub \(.*500.*\): check the network"),
]


def test_what_the_hub_refuses_is_one_line(client: Client) -> None:
    """A repository of its own for each, so that one start shows them all."""
    names = [f"org/net{number}" for number in range(len(REFUSALS))]
    for name, (refusal, _) in zip(names, REFUSALS, strict=True):
        client.hub.add(name, files(1.0))
        client.hub.refused[name] = refusal
    answers = client.ask([{"repo_id": name, "revision": None} for name in names])
    for (folder, said), name, (_, line) in zip(answers, names, REFUSALS, strict=True):
        assert folder == Path(NOWHERE)
        assert re.match(line.replace("org/net", name), said), said
        assert "\n" not in said
    assert client.left() == set()


def test_other_refusals_are_one_line(client: Client) -> None:
    """A gated repository that anybody can list, and revisions that there are not."""
    client.hub.add("org/gated", files(1.0))
    client.hub.add(NET, files(1.0))
    client.hub.refused["org/gated"], client.hub.only_files_refused = hub_server.GATED_STRANGER, True
    gated, *others = client.ask(
        [{"repo_id": "org/gated", "revision": None}]
        + [{"repo_id": NET, "revision": revision} for revision in ("v2", "0" * 40)]
    )
    assert re.match(REFUSALS[0][1].replace("org/net", "org/gated"), gated[1]), gated[1]
    for revision, (folder, said) in zip(("v2", "0" * 40), others, strict=True):
        assert folder == Path(NOWHERE)
        assert said.startswith(
            f"org/net has no revision '{revision}' on the hub (404): set hub.revision to"
        ), said


def test_a_token_is_for_the_hub_alone(client: Client) -> None:
    client.hub.add(NET, files(1.0))
    assert first(client.start(HF_TOKEN="hf_secret")[0]) == 1.0
    told = {asked.path.split("/")[1]: asked.token for asked in client.hub.asked}
    assert told == {"api": "Bearer hf_secret", "org": "Bearer hf_secret", "elsewhere": ""}


def test_offline_a_filled_cache_is_enough(client: Client) -> None:
    """Both the hub's own cache, filled by anybody, and ours; without either it is one line."""
    client.hub.add(NET, files(1.0))
    folder, said = client.start(HF_HUB_OFFLINE="1")
    assert folder == Path(NOWHERE)
    assert "HF_HUB_OFFLINE is set, and the hub's cache does not hold all of it): unset" in said
    client.start()
    shutil.rmtree(client.folder / "ours")
    for _ in ("out of the hub's cache", "out of ours"):
        folder, said = client.start(HF_HUB_OFFLINE="1")
        assert (first(folder), said) == (1.0, "")
        assert client.hub.asked == []
        shutil.rmtree(client.folder / "hub", ignore_errors=True)


def test_weights_of_another_format_come_with_the_line_that_converts_them(client: Client) -> None:
    pickled = {"pytorch_model.bin": b"pickled", "config.json": b'{"architectures": ["GPT2LMHeadModel"]}'}
    commit = client.hub.add(NET, pickled)
    folder, said = client.start(commit)
    assert folder == Path(NOWHERE)
    assert (
        "the hub repository org/net lacks *.safetensors: weights are loaded from safetensors only; convert them once "
        'with python -c "from transformers import GPT2LMHeadModel as M, AutoTokenizer as T; [kind.from_pretrained('
        f"'org/net', revision='{commit}').save_pretrained('FOLDER') for kind in (M, T)]\" and give the new folder as "
        "source=path, path=FOLDER"
    ) in said
    assert client.left() == set()


def test_the_line_that_converts_does(tmp_path: Path) -> None:
    """A folder as an older transformers saved it: pickled weights only."""
    from tiny_models import tiny_gpt2

    model = tiny_gpt2()
    old, new = tmp_path / "old", tmp_path / "new"
    model.model.save_pretrained(old)
    model.tokenizer.tokenizer.save_pretrained(old)
    (old / "model.safetensors").unlink()
    state = {name: tensor for name, tensor in model.model.state_dict().items() if name != "lm_head.weight"}
    torch.save(state, old / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"lacks \*\.safetensors") as caught:
        resolve("m", "path", path=old)
    found = re.search(r"python (-c \".*\") and give", str(caught.value))
    assert found
    (_, code) = shlex.split(found[1])
    exec(code.replace("'FOLDER'", repr(str(new))), {})
    made = load_file(resolve("m", "path", path=new).directory / "model.safetensors")
    torch.testing.assert_close(made["transformer.wte.weight"], state["transformer.wte.weight"])


def test_a_name_from_a_config_is_no_code(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.bin")
    (tmp_path / "config.json").write_text('{"architectures": ["x; import os"]}')
    with pytest.raises(UsageError, match=r"from transformers import AutoModel as M, AutoTokenizer as T"):
        resolve("m", "path", path=tmp_path)
