"""captions.json in COCO's result format, and a .txt beside every photograph that is nobody else's."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image

from fuse_repro.data.images import ImageCaptionData
from fuse_repro.data.shards import Division
from fuse_repro.errors import UsageError
from fuse_repro.runners.search.caption_files import Sidecars, caption_files
from fuse_repro.runners.search.sentiment import record_id


def record(name: str, caption: str = "a cat", **more: Any) -> dict[str, Any]:
    return {"id": name, "status": "done", "text": f"An image of {caption}", "caption": caption} | more


def files(records: list[dict[str, Any]], prefix: str = "strip") -> dict[str, Any]:
    return caption_files(OmegaConf.create({"runner": {"metrics_prefix": prefix}}), records)


def test_numbers_are_numbers_as_evaluation_servers_want_them() -> None:
    failed = {"id": "x", "status": "failed", "error": "no photograph"}
    found = files([record("25", "two\ncats"), failed, record("000000000009", "a \ud83d")])
    assert found == {
        "captions.json": [
            {"image_id": 25, "caption": "two cats"},
            {"image_id": 9, "caption": "a \ufffd"},
        ]
    }
    assert files([failed]) == {}


@pytest.mark.parametrize("names", [("9", "a"), ("9", "09"), ("9", "9" * 30), ("-9", "1"), ("\u0669", "1")])
def test_ids_that_are_not_all_numbers_stay_as_they_are(names: tuple[str, ...]) -> None:
    (captions,) = files([record(name) for name in names]).values()
    assert [row["image_id"] for row in captions] == list(names)


def test_captions_are_as_they_are_compared_with_references() -> None:
    assert files([record("1")], "keep")["captions.json"][0]["caption"] == "An image of a cat"


def test_captions_with_a_sentiment_have_files_of_their_own() -> None:
    rows = [
        record(record_id(image, kind), f"a {kind} cat", image_id=image, sentiment=kind)
        for image in ("1", "2")
        for kind in ("none", "positive")
    ]
    assert files(rows) == {
        f"captions_{kind}.json": [{"image_id": image, "caption": f"a {kind} cat"} for image in (1, 2)]
        for kind in ("none", "positive")
    }


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "B.jpg", "sub/c.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def prepared(photos: Path, value: object = True, kinds: tuple[str, ...] = ("",), **data: Any) -> Sidecars:
    """Sidecars of a run whose directory lies beside the photographs."""
    run = photos.parent / "run"
    run.mkdir(exist_ok=True)
    runner = OmegaConf.create({"metrics_prefix": "strip", "sidecar": value})
    name = record_id if kinds != ("",) else Sidecars.record_id
    found = Sidecars(runner, run, kinds, name)
    found.prepare(ImageCaptionData(photos, **{"recursive": photos.is_dir()} | data))
    return found


def finish(sidecars: Sidecars, records: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in records)
    (sidecars.path / "records.jsonl").write_text(text)
    sidecars.write(records)


ROWS = [record(name, f"a {name}") for name in ("B", "a", "b", "c")]


def texts(photos: Path) -> dict[str, str]:
    return {path.relative_to(photos).as_posix(): path.read_text() for path in photos.rglob("*.txt")}


def test_every_caption_stands_beside_its_photograph(photos: Path) -> None:
    finish(prepared(photos), [*ROWS[:3], {"id": "c", "status": "failed", "error": "torn"}])
    assert texts(photos) == {"a.txt": "a a\n", "b.png.txt": "a b\n", "B.jpg.txt": "a B\n"}
    finish(prepared(photos), ROWS)
    assert texts(photos)["sub/c.txt"] == "a c\n"
    assert {path.name for path in photos.iterdir()} == {
        "a.png",
        "b.png",
        "B.jpg",
        "sub",
        "a.txt",
        "b.png.txt",
        "B.jpg.txt",
    }


def test_nothing_is_written_unless_it_is_asked_for(photos: Path) -> None:
    (photos / "a.txt").write_text("mine")
    finish(prepared(photos, False), ROWS)
    assert texts(photos) == {"a.txt": "mine"}


def test_a_file_of_somebody_else_is_refused_before_anything_is_loaded(photos: Path) -> None:
    (photos / "sub" / "c.txt").write_text("a c")  # without the line's end: not of this run
    (photos / "a.txt").symlink_to(photos.parent / "nowhere.txt")
    with pytest.raises(
        UsageError, match=r"^runner\.sidecar=True: .*a\.txt and 1 more is there already"
    ) as caught:
        prepared(photos)
    assert str(caught.value).endswith("replace it by runner.sidecar=overwrite")
    finish(prepared(photos, "overwrite"), ROWS)
    assert texts(photos)["sub/c.txt"] == "a c\n"
    assert not (photos / "a.txt").is_symlink()
    assert not (photos.parent / "nowhere.txt").exists(), "a link is replaced and not followed"


def test_what_an_earlier_start_of_the_run_wrote_is_its_own(photos: Path) -> None:
    first = prepared(photos)
    (first.path / "records.jsonl").write_text(json.dumps(ROWS[1]) + "\n")
    (photos / "a.txt").write_text("a a\n")  # then the run was killed
    finish(prepared(photos), ROWS)
    assert texts(photos)["a.txt"] == "a a\n"


def test_a_caption_that_was_found_anew_replaces_the_runs_own(photos: Path) -> None:
    sidecars = prepared(photos)
    (sidecars.path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    sidecars.write(ROWS)
    again = prepared(photos)
    with (again.path / "records.jsonl").open("a") as file:
        file.write(json.dumps(record("a", "another")) + "\n")
    again.write([ROWS[0], record("a", "another"), *ROWS[2:]])
    assert texts(photos)["a.txt"] == "another\n"


def test_a_file_that_came_in_the_meantime_is_kept_and_the_others_are_written(photos: Path) -> None:
    sidecars = prepared(photos)
    (photos / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"a\.txt is there already"):
        finish(sidecars, ROWS)
    assert texts(photos) == {
        "a.txt": "mine",
        "b.png.txt": "a b\n",
        "B.jpg.txt": "a B\n",
        "sub/c.txt": "a c\n",
    }


def test_sentiments_have_files_of_their_own(photos: Path) -> None:
    rows = [record(record_id("a", kind), kind, image_id="a", sentiment=kind) for kind in ("none", "positive")]
    finish(prepared(photos, kinds=("none", "positive")), rows)
    assert texts(photos) == {"a.none.txt": "none\n", "a.positive.txt": "positive\n"}


def test_one_caption_for_all_stands_beside_each(photos: Path) -> None:
    finish(prepared(photos, group="all"), [record("all", "things")])
    assert texts(photos) == dict.fromkeys(("a.txt", "b.png.txt", "B.jpg.txt", "sub/c.txt"), "things\n")


def test_two_captions_for_one_photograph_are_refused(photos: Path) -> None:
    listed = photos / "list.jsonl"
    listed.write_text('{"file": "a.png", "id": 1}\n{"file": "a.png", "id": 2}\n')
    with pytest.raises(
        UsageError, match=r"runner\.sidecar=True is not allowed: false, since .*a\.txt would hold"
    ):
        prepared(listed)


def test_a_shard_writes_its_own_and_knows_of_the_others(photos: Path) -> None:
    found: dict[str, str] = {}
    for shard in range(4):
        data = ImageCaptionData(photos, recursive=True)
        data.division = Division(4, shard)
        runner = OmegaConf.create({"metrics_prefix": "strip", "sidecar": True})
        run = photos.parent / f"run{shard}"
        run.mkdir()
        sidecars = Sidecars(runner, run)
        sidecars.prepare(data)
        sidecars.write(ROWS)
        assert len(texts(photos)) == len(found) + 1
        found = texts(photos)
    assert set(found) == {"a.txt", "b.png.txt", "B.jpg.txt", "sub/c.txt"}


def test_a_folder_that_may_not_be_written_to(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "sub")
    with pytest.raises(
        UsageError, match=r"^cannot write .*sub, for runner\.sidecar: it may not be written to$"
    ):
        prepared(photos)
