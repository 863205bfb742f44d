"""The whole page: what it says, that harmful text is inert, and how a browser takes it."""

import base64
import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from report_samples import HARMFUL, done, failed

from fuse_repro.errors import UsageError
from fuse_repro.report import build_report, main
from fuse_repro.report import page as report_page
from fuse_repro.runs.directory import RunDirectory

Make = Callable[..., RunDirectory]
RESULTS = {
    "runner": "captions",
    "items": {"done": 1, "failed": 1},
    "metrics": {"BLEU-1": 50.0, "CIDEr": 125.0, "items": 1, "left_out": 3},
    "metrics_unit": "percent",
    "metrics_note": None,
    "prefix_policy": "strip",
    "timing": {"seconds_per_item": 12.34},
}
VOID = {"br", "img", "link", "meta"}


class Checker(HTMLParser):
    """Every tag closes in order; collects tags, attributes and visible text, without line breaks between tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        between_tags = data.isspace() and "\n" in data
        if "style" not in self.open and not between_tags:
            self.text += data


def check(page: Path) -> Checker:
    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker


def test_the_page_says_what_was_found(make_run: Make, photo: Path) -> None:
    run = make_run(done(photo), failed())
    run.finish(RESULTS)
    page = check(build_report(run.path))
    for part in ["demo", "Seed0", "1done", "1failed", "6.000mean objective", "50.0BLEU-1", "125.0CIDEr"]:
        assert part in page.text, part
    for part in [
        "a cat.",
        "An image of a cat.",
        "People wrote",
        "CC0",
        "1 items, 3 without references",
        "12.3 s",
    ]:
        assert part in page.text, part
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["alt"] == "Photo chelsea. Caption found: a cat."
    picture = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1])))
    assert (picture.format, picture.size) == ("JPEG", (480, 360))


def test_a_sound_run_has_its_page_made_once(
    make_run: Make, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made twice, with all of its plots: once to see whether every value can be shown."""
    run, made = make_run(done(photo), failed()), []
    monkeypatch.setattr(
        report_page, "render", lambda template, **content: made.append(content["damage"]) or "page"
    )
    build_report(run.path)
    assert [list(damage) for damage in made] == [[]]


def test_harmful_text_is_inert_and_nothing_is_fetched(make_run: Make, photo: Path) -> None:
    harmful = {
        "caption": HARMFUL,
        "text": f"An image of {HARMFUL}",
        "license": HARMFUL,
        "source": f'"{HARMFUL}',
    }
    run = make_run(done(photo, **harmful), failed(), name=HARMFUL)
    run.fail(RuntimeError(HARMFUL))
    page = check(build_report(run.path))
    assert page.text.count(HARMFUL) >= 8
    assert not {"script", "iframe", "object", "b", "i"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    for tag, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert tag == "a" or attributes.get("href", "data:").startswith(("data:", "#"))
    text = (run.path / "report.html").read_text()
    assert not re.search(r"url\((?!#)|@import", text)


def test_failed_running_and_empty_runs_have_a_report(make_run: Make, photo: Path) -> None:
    run = make_run()
    assert "The run had not ended" in check(build_report(run.path)).text
    assert "No item was recorded." in check(build_report(run.path)).text
    run.append(done(photo.with_name("gone.png"), references=[], steps=[], finished=False, license=None))
    run.fail(RuntimeError("out of patience"))
    text = check(build_report(run.path)).text
    for part in ["The run failed", "RuntimeError: out of patience", "Traceback", "no longer there"]:
        assert part in text, part
    assert "People wrote" not in text
    (run.path / "status.json").unlink()
    assert "The run failed" not in check(build_report(run.path)).text


def test_metrics_that_could_not_be_computed_say_why(make_run: Make, photo: Path) -> None:
    run = make_run(done(photo))
    run.finish(RESULTS | {"metrics": None, "metrics_note": "no caption metrics: they need Java"})
    text = check(build_report(run.path)).text
    assert "no caption metrics: they need Java" in text
    assert "BLEU-1" not in text


def test_many_items_get_a_table_of_contents(make_run: Make, photo: Path) -> None:
    run = make_run(*[done(photo, id=f"item {number}", steps=[]) for number in range(4)], failed())
    page = check(build_report(run.path))
    anchors = [
        attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and "#" in attributes["href"]
    ]
    cards = [attributes["id"] for tag, attributes in page.tags if tag == "article"]
    assert anchors == cards
    assert len(cards) == 5


def test_the_command(make_run: Make, photo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = make_run(done(photo))
    assert main([str(run.path)]) == 0
    assert capsys.readouterr().out == f"{run.path / 'report.html'}\n"
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert re.fullmatch(r"fuse-repro report: cannot read .*manifest\.json: No such file .*\n", said.err)
    assert said.out == ""
    with pytest.raises(UsageError, match="give the directory of a run"):
        build_report(tmp_path / "nowhere")


def has_chromium() -> bool:
    return shutil.which("chromium") is not None


def browse(page: Path, scratch: Path) -> tuple[list[str], set[str], Path]:
    """What a browser prints to its console, the addresses the page asks for, and a screenshot.

    The browser's own requests have "not an origin" as their initiator. No name is ever resolved.
    """
    log, shot = scratch / f"{page.stem}.json", scratch / f"{page.stem}.png"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--enable-logging=stderr", "--window-size=900,1200"]
    command += [f"--user-data-dir={scratch / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--log-net-log={log}", f"--screenshot={shot}", page.as_uri()]
    environment = os.environ | {"HOME": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=True)
    asked = re.findall(r'"initiator":"(?!not an origin)[^\n]*"url":"([^"]*)"', log.read_text())
    return re.findall(r"CONSOLE.*", done.stderr), {url for url in asked if not url.startswith("data:")}, shot


@pytest.mark.skipif(not has_chromium(), reason="needs chromium on PATH")
def test_a_browser_shows_it_without_errors_or_requests(make_run: Make, photo: Path, tmp_path: Path) -> None:
    control = tmp_path / "control.html"
    control.write_text('<img src="http://example.org/x.png"><script>console.log("said")</script>')
    console, asked, _ = browse(control, tmp_path)
    assert len(console) == 1, "a message would be noticed"
    assert asked == {"http://example.org/x.png"}, "a request would be noticed"
    run = make_run(done(photo, caption=HARMFUL), failed())
    run.finish(RESULTS)
    console, asked, shot = browse(build_report(run.path), tmp_path)
    assert (console, asked) == ([], set())
    colours = Image.open(shot).convert("RGB").getcolors(1 << 24)
    assert len(colours) > 50, "the page is drawn, photo included"


def test_captions_with_sentiment_stand_side_by_side(make_run: Make, photo: Path) -> None:
    shown = {"image_id": "chelsea", "sentiment": "none"}
    run = make_run(
        done(photo, **shown),
        done(
            photo, **shown | {"id": "chelsea/positive", "sentiment": "positive", "caption": "a lovely cat."}
        ),
    )
    page = check(build_report(run.path))
    assert "With and without sentiment" in page.text
    assert "PhotoWithoutPositivechelseaa cat.a lovely cat." in page.text
    assert "With and without" not in check(build_report(make_plain(run.path.parent, photo).path)).text


def make_plain(folder: Path, photo: Path) -> RunDirectory:
    run = RunDirectory(folder / "plain", {"name": "plain"})
    run.open(device="cpu", weights={})
    run.append(done(photo))
    return run
