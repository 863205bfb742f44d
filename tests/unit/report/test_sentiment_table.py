"""Captions without and with sentiment, side by side."""

from rendered import rendered

from fuse_repro.report.pages.sentiment import sentiment_table


def record(image: str, sentiment: str, caption: str, **more: object) -> dict:
    terms = {"image": {"raw": 0.25, "weighted": 2.5}, "sentiment": {"raw": 0.5, "weighted": 1.0}}
    return {
        "id": f"{image}/{sentiment}",
        "image_id": image,
        "sentiment": sentiment,
        "status": "done",
        "caption": caption,
        "terms": terms,
        **more,
    }


def test_one_row_per_photograph_and_one_column_per_sentiment() -> None:
    found = sentiment_table(
        [
            record("cat", "negative", "a nasty <cat>"),
            record("cat", "none", "a cat"),
            record("dog", "none", "a dog"),
            record("dog", "negative", "", status="failed"),
        ]
    )
    page = rendered("sentiment_table.html.j2", "sentiment_table", found)
    heads = [part.split("<")[0] for part in page.split('scope="col">')[1:]]
    assert heads == ["Photo", "Without", "Negative"]
    assert page.count('scope="row"') == 2
    assert page.index("a cat") < page.index("a nasty &lt;cat&gt;") < page.index("a dog")
    assert "image 0.25" in page
    assert "–" in page


def test_other_runs_have_no_such_table() -> None:
    plain = record("cat", "none", "a cat")
    del plain["sentiment"]
    assert sentiment_table([plain]) is None
    assert sentiment_table([]) is None
