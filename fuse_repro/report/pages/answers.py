"""The page of prompts that models answer by: how many answers are right, the prompts, and what the models say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fuse_repro.report.formats import MISSING, Estimate, estimate, number, percent
from fuse_repro.report.pages.items import TermValue, anchor, term_values
from fuse_repro.report.pages.parts import Record, Tile, counts, split
from fuse_repro.report.plots.loss_curve import loss_chart
from fuse_repro.report.plots.style import Drawing, term_stroke

NAMES = {"found": "the prompt found", "manual": "the data set's own template", "none": "no prompt"}


@dataclass(frozen=True)
class AnswerCard:
    """A task, or a fixed text, for which a prompt was found.

    Attributes:
        anchor: the card's id on the page.
        title: the task.
        prompt: what was found.
        template: the prompt in its place.
        target: the fixed text that models shall say, or None.
        values: every term of the objective.
        objective: their sum, as text.
        chart: the loss curve, or None without steps.
        said: the table of what every model says after the prompt; empty for a task.
        shares: the table prompts x models, in percent; empty for a fixed text.
        samples: the table items x models: what each said; empty for a fixed text.
        finalists: the table of the prompts that were asked on the development split.
    """

    anchor: str
    title: str
    prompt: str
    template: str
    target: str | None
    values: Sequence[TermValue]
    objective: str
    chart: Drawing | None
    said: Sequence[Sequence[str]]
    shares: Sequence[Sequence[str]]
    samples: Sequence[Sequence[str]]
    finalists: Sequence[Sequence[str]]


def is_answers(records: Sequence[Record], results: Mapping[str, Any]) -> bool:
    """Whether these are the records or results of a search for prompts of answers."""
    return results.get("runner") == "answers" or any("finalists" in record for record in records)


def answers_content(records: Sequence[Record], results: Mapping[str, Any]) -> dict[str, Any]:
    """Tiles, the means over tasks, and a card for every task."""
    done, failed = split(records)
    models: dict[str, str] = next((record["models"] for record in done if record.get("models")), {})
    unseen: list[str] = next((record["unseen"] for record in done if "unseen" in record), [])
    columns = [f"{name} (unseen)" if role in unseen else name for role, name in models.items()]
    return {
        "tiles": [*counts(done, failed, "done"), *_tiles(results)],
        "split": results.get("split", "test"),
        "head": ["prompt", *columns, "mean of those searched with"],
        "rows": _means(results, list(models)),
        "own_head": ["prompt", *columns],
        "sample_head": ["item", "right", *columns],
        "finalist_head": ["finalist", "objective", *(models[role] for role in models if role not in unseen)],
        "cards": [_card(record, place, list(models), unseen) for place, record in enumerate(done)],
        "objective_stroke": term_stroke(None),
        "failed": failed,
    }


def _tiles(results: Mapping[str, Any]) -> list[Tile]:
    """The mean share of right answers with the prompts found, and with the templates."""
    prompts = results.get("prompts") or {}
    return [
        Tile(percent(prompts[name]["mean"]["mean"]), f"% right with {words}")
        for name, words in NAMES.items()
        if name in prompts
    ]


def _means(results: Mapping[str, Any], roles: Sequence[str]) -> list[list[str | Estimate]]:
    prompts = results.get("prompts") or {}
    return [
        [NAMES[name], *(estimate(prompts[name].get(role), 1, 100) for role in (*roles, "mean"))]
        for name in NAMES
        if name in prompts
    ]


def _card(record: Record, place: int, roles: Sequence[str], unseen: Sequence[str]) -> AnswerCard:
    prompts = record.get("prompts") or {}
    searched = [role for role in roles if role not in unseen]
    return AnswerCard(
        anchor=anchor(place),
        title=record.get("label") or record["id"],
        prompt=record["text"],
        template=record["template"],
        target=record.get("target"),
        values=term_values(record["terms"]),
        objective=number(record["objective"]),
        chart=loss_chart(f"{place + 1}, {record['id']}", record.get("steps") or [], list(record["terms"])),
        said=[
            [record["models"][role], number(found["nats"]), found.get("says", MISSING)]
            for role, found in (record.get("said") or {}).items()
        ],
        shares=[
            [NAMES[name], *(percent((prompts[name].get(role) or {}).get("accuracy")) for role in roles)]
            for name in NAMES
            if name in prompts
        ],
        samples=[
            [row["text"], " or ".join(row["right"]), *(row["said"].get(role, MISSING) for role in roles)]
            for row in record.get("samples") or []
        ],
        finalists=[
            [row["text"], number(row["objective"]), *(percent(row["dev"].get(role)) for role in searched)]
            for row in record.get("finalists") or []
        ],
    )
