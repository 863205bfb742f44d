"""Cached files are hashed again when they may have changed, and a damaged entry is said once and made again."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

import pytest

from fuse_repro.errors import UsageError
from fuse_repro.weights import verify
from fuse_repro.weights.cache import WeightsEntry, cached
from fuse_repro.weights.listing import LISTING, Damaged
from fuse_repro.weights.verify import ALWAYS, CHANGED, MODES, NEVER, STAMP, hash_files, verified, verifying


def write(folder: Path) -> None:
    (folder / "model.safetensors").write_text("abcd")
    (folder / "sub").mkdir()
    (folder / "sub" / "config.json").write_text("{}")


def refuse(folder: Path) -> None:
    raise AssertionError("built again")


def make(cache: Path, build=write) -> WeightsEntry:
    return cached(cache, "x", {"made": "for this test"}, "a test", build)


def overwrite(path: Path, content: str = "abXd") -> None:
    """As many bytes, and another time of change on any file system."""
    path.write_text(content)
    os.utime(path, ns=(1, 1))


@pytest.fixture
def hashings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of every hashing."""
    found: list[list[str]] = []

    def watched(directory, names, label):
        found.append(list(names))
        return hash_files(directory, names, label)

    monkeypatch.setattr(verify, "hash_files", watched)
    return found


@pytest.mark.parametrize("mode", [ALWAYS, CHANGED])
def test_changed_bytes_of_equal_size_are_found_said_once_and_rebuilt(cache, capsys, mode):
    entry = make(cache)
    overwrite(entry.directory / "model.safetensors")
    with verifying(mode):
        assert make(cache) == entry
        assert (entry.directory / "model.safetensors").read_text() == "abcd"
        assert make(cache, refuse) == entry
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is damaged (the sha256 of 'model.safetensors' is not what it was) and is made again" in said


def test_never_looks_at_sizes_only(cache):
    entry = make(cache)
    overwrite(entry.directory / "model.safetensors")
    with verifying(NEVER):
        assert make(cache, refuse) == entry
        (entry.directory / "model.safetensors").write_text("longer")
        assert make(cache) == entry


def test_an_intact_entry_is_hashed_after_a_change_only(cache, hashings):
    entry = make(cache)
    make(cache, refuse)
    assert hashings == []  # building it was its verification
    os.utime(entry.directory / "model.safetensors", ns=(1, 1))
    make(cache, refuse)
    assert hashings == [["model.safetensors", "sub/config.json"]]
    make(cache, refuse)
    assert len(hashings) == 1


def test_another_inode_of_equal_size_and_time_is_hashed(cache, hashings):
    file = make(cache).directory / "model.safetensors"
    state = file.stat()
    file.with_name("copy").write_text("abXd")
    os.utime(file.with_name("copy"), ns=(state.st_atime_ns, state.st_mtime_ns))
    file.with_name("copy").replace(file)
    with pytest.raises(Damaged, match=r"the sha256 of 'model\.safetensors'"):
        verified(file.parent, CHANGED)
    assert len(hashings) == 1


def test_always_finds_what_left_no_trace(cache):
    file = make(cache).directory / "model.safetensors"
    state = file.stat()
    file.write_text("abXd")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    verified(file.parent, CHANGED)
    with pytest.raises(Damaged, match="the sha256 of"):
        verified(file.parent, ALWAYS)
    with pytest.raises(Damaged, match="the sha256 of"):  # known by now
        verified(file.parent, CHANGED)


@pytest.mark.parametrize("stamp", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"listing": 1, "files": {}}'])
def test_a_stamp_that_is_not_ours_costs_one_hashing(cache, hashings, stamp):
    entry = make(cache)
    (entry.directory / STAMP).write_bytes(stamp)
    assert make(cache, refuse) == entry
    assert len(hashings) == 1
    make(cache, refuse)
    assert len(hashings) == 1


def test_a_stamp_does_not_cover_another_listing(cache):
    entry = make(cache)
    listing = json.loads((entry.directory / LISTING).read_text())
    listing["files"]["model.safetensors"]["sha256"] = "0" * 64
    (entry.directory / LISTING).write_text(json.dumps(listing))
    assert make(cache).files == entry.files


def test_a_stamp_that_cannot_be_kept_is_not(cache, hashings):
    """As in a cache that is read-only; here, since root may write anywhere, a folder is in its place."""
    entry = make(cache)
    (entry.directory / STAMP).unlink()
    (entry.directory / STAMP).mkdir()
    for _ in range(2):
        assert make(cache, refuse) == entry
    assert len(hashings) == 2
    assert {path.name for path in entry.directory.iterdir()} == {"model.safetensors", "sub", LISTING, STAMP}


def test_damage_in_a_read_only_cache_is_named(cache, monkeypatch):
    entry = make(cache)
    overwrite(entry.directory / "model.safetensors")

    def read_only(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("fuse_repro.weights.cache.FileLock.acquire", read_only)
    with pytest.raises(
        UsageError, match=r"cannot write .* \(Read-only .* is damaged \(the sha256 of .*FUSE_REPRO_CACHE"
    ):
        make(cache)


def test_a_damaged_entry_that_cannot_be_made_again_stays_damaged(cache, capsys):
    entry = make(cache)
    overwrite(entry.directory / "model.safetensors")

    def offline(folder: Path) -> None:
        raise UsageError("check the network")

    for _ in range(2):
        with pytest.raises(UsageError, match="check the network"):
            make(cache, offline)
        assert "is damaged" in capsys.readouterr().err
    assert make(cache) == entry


def test_a_run_hashes_no_file_twice(cache, monkeypatch):
    make(cache)
    read: list[Path] = []
    opened = Path.open

    def watched(path, *arguments, **keywords):
        read.append(path)
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", watched)
    with verifying(ALWAYS):
        make(cache, refuse)
        make(cache, refuse)
    assert sum(path.name == "model.safetensors" for path in read) == 1


def test_an_unknown_mode_names_the_known():
    with pytest.raises(
        UsageError, match=r"weights\.verify='daily' is not allowed: one of always, changed, never"
    ):
        verifying("daily").__enter__()


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*nothing.* \(No such file or directory\): check"):
        hash_files(tmp_path, ["nothing"], "x")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "listing",
    [
        "",
        "null",
        "[]",
        "3",
        '"text"',
        "{}",
        "[" * 100_000,
        '{"source": "a test"}',
        '{"source": "a test", "files": {}}',
        '{"source": "a test", "files": []}',
        '{"source": "a test", "files": "model.safetensors"}',
        '{"source": 3, "files": {"model.safetensors": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"model.safetensors": 4}}',
        '{"source": "a test", "files": {"model.safetensors": {"size": "4", "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"model.safetensors": {"size": true, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"model.safetensors": {"size": 4, "sha256": ["a"]}}}',
        '{"source": "a test", "files": {"model.safetensors": {"size": 4, "sha256": "short"}}}',
        '{"source": "a test", "files": {"../outside": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"/etc/passwd": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"\\u0000": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"\\ud800": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
        '{"source": "a test", "files": {"sub": {"size": 4, "sha256": "%s"}}}' % ("0" * 64),
    ],
)
def test_a_listing_of_another_form_is_damage(cache, capsys, listing, mode):
    entry = make(cache)
    (entry.directory / LISTING).write_text(listing)
    with verifying(mode):
        assert make(cache) == entry
        assert make(cache, refuse) == entry
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is damaged" in said


def test_a_file_that_libraries_would_read_and_that_is_not_listed_is_damage(cache):
    entry = make(cache)
    (entry.directory / "README.md").write_text("a note does no harm")
    assert make(cache, refuse) == entry
    (entry.directory / "tokenizer.model").write_text("not listed")
    assert make(cache) == entry
    assert not (entry.directory / "tokenizer.model").exists()


def test_a_link_out_of_an_entry_is_damage(cache, tmp_path):
    file = make(cache).directory / "model.safetensors"
    (tmp_path / "elsewhere").write_text("abcd")
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    make(cache)
    assert not file.is_symlink()


def test_a_file_in_the_place_of_an_entry_is_replaced(cache):
    entry = make(cache)
    for path in (entry.directory / "sub" / "config.json", entry.directory / "model.safetensors"):
        path.unlink()
    (entry.directory / "sub").rmdir()
    for path in entry.directory.iterdir():
        path.unlink()
    entry.directory.rmdir()
    entry.directory.write_text("a file")
    assert make(cache) == entry


def test_files_of_an_entry_follow_the_umask(cache):
    def build(folder: Path) -> None:
        write(folder)
        (folder / "model.safetensors").chmod(0o600)  # as safetensors does

    before = os.umask(0o027)
    try:
        entry = make(cache, build)
    finally:
        os.umask(before)
    for name in ("model.safetensors", "sub/config.json", LISTING, STAMP):
        assert (entry.directory / name).stat().st_mode & 0o777 == 0o640, name


def test_hashing_a_large_file_is_seen_as_it_goes_on(tmp_path, monkeypatch):
    moves: list[float] = []

    @contextlib.contextmanager
    def drawn(*arguments):
        yield moves.append

    monkeypatch.setattr(verify, "bar", drawn)
    monkeypatch.setattr(verify, "BLOCK", 4)
    (tmp_path / "large").write_bytes(b"0123456789")
    (digest,) = hash_files(tmp_path, ["large"], "x").values()
    assert digest == hashlib.sha256(b"0123456789").hexdigest()
    assert moves == [4, 4, 2]
