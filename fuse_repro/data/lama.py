"""LAMA-TREx (Petroni et al. 2019) from its folder: facts, manual templates, the common vocabulary."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fuse_repro.data.downloaded import DataSource
from fuse_repro.data.facts import FRACTIONS
from fuse_repro.data.prompt_task import Item, PromptTask, check_template, shuffled, split_by_text
from fuse_repro.data.task_data import PromptTaskData
from fuse_repro.errors import UsageError, quoted, require
from fuse_repro.storage.reading import (
    below,
    is_folder,
    is_there,
    json_lines,
    read_text,
    text_lines,
    whole_text,
)

ANSWERS = ("one", "any")
FACTS = ("LAMA-TREx", "TREx")
TRAIN = ("lpaqa_train",)
TEMPLATES = ("relation_metainfo/LAMA_relations.jsonl", "relations.jsonl")
VOCABULARY = ("common_vocabs/common_vocab_cased.txt", "common_vocab_cased.txt")
SOURCE = DataSource(
    "LAMA-TREx",
    "https://github.com/facebookresearch/LAMA (data.zip), with training facts and templates from "
    "https://github.com/princeton-nlp/OptiPrompt",
    "relations.jsonl, TREx/P36.jsonl ... and common_vocab_cased.txt; or relation_metainfo/, LAMA-TREx/, common_vocabs/ "
    "and, for training facts, lpaqa_train/",
)
DEV_SHARE = 0.2  # of the training facts, as AutoPrompt's split has it


class LamaFacts(PromptTaskData):
    """Relations of LAMA-TREx as tasks; answers are restricted to the common vocabulary.

    The folder is LAMA's own (`relations.jsonl`, `TREx/P36.jsonl`, `common_vocab_cased.txt`) or the one of the
    LPAQA and OptiPrompt releases (`relation_metainfo/`, `LAMA-TREx/`, `common_vocabs/`). All LAMA facts are
    test items; training facts come from `train`, and those about a subject of the test set are dropped. Where
    there is no training folder, LAMA's own facts are split by subject.

    Args:
        path: the folder.
        relations: ids to use, or None for all that have facts and a template.
        facts: name of the folder of facts inside `path`, where it is not the usual one.
        train: name of the folder of training facts, likewise; "" says that there are no training facts.
        templates: name of the file of templates, likewise.
        vocabulary: name of the file of the common vocabulary, likewise.
        answers: which answers are right: "one", that of the fact itself, as the papers count; or "any" that the files
            name for the subject, such as every official language of a country. The same facts are asked either way.
        max_train: use at most so many training facts of a relation, dev included.
        max_test: use at most so many test facts of a relation.
        seed: of the splits and of the choice where there are more.

    Raises:
        UsageError: a folder or file is missing, a line that is not in the format (with its number), an
            unknown relation, or a relation without facts.
    """

    def __init__(
        self,
        path: str | Path,
        relations: Sequence[str] | None = None,
        *,
        facts: str | None = None,
        train: str | None = None,
        templates: str | None = None,
        vocabulary: str | None = None,
        answers: str = "one",
        max_train: int | None = 1000,
        max_test: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, limit, least in (("max_train", max_train, 0), ("max_test", max_test, 1)):
            allowed = f"at least {least}, or null for all"
            require(limit is None or limit >= least, f"dataset.{name}", limit, allowed)
        require(answers in ANSWERS, "dataset.answers", answers, f"one of {', '.join(ANSWERS)}")
        root = Path(path)
        if not is_folder(root):
            raise SOURCE.wrong(f"dataset.path={quoted(str(path))} is no folder: give the folder of LAMA-TREx")
        self.facts = _find(root, facts, FACTS, "the facts of LAMA-TREx")
        self.train = None if train == "" else _find_or_none(root, train, TRAIN)
        self.templates = _find(root, templates, TEMPLATES, "the relations' templates")
        self.vocabulary = _find(root, vocabulary, VOCABULARY, "the common vocabulary")
        self.relations = None if relations is None else tuple(relations)
        self.answers, self.max_train, self.max_test, self.seed = answers, max_train, max_test, seed

    def tasks(self) -> tuple[PromptTask, ...]:
        """One task for each relation, in the order asked for, else by number."""
        described = {row["relation"]: row for row in _rows(self.templates, ("relation", "template"))}
        words = _vocabulary(self.vocabulary)
        there = [name for name in described if is_there(below(self.facts, f"{name}.jsonl"))]
        chosen = self.relations or tuple(sorted(there, key=lambda name: (len(name), name)))
        for name in chosen:
            require(
                name in there,
                "dataset.relations",
                name,
                f"one with facts and a template: {', '.join(sorted(there))}",
            )
        return tuple(self._task(described[name], words) for name in chosen)

    def _task(self, described: Mapping[str, Any], words: Sequence[str]) -> PromptTask:
        name = described["relation"]
        check_template(f"{name} in {self.templates}", described["template"])
        known = set(words)
        facts = _items(self.facts / f"{name}.jsonl")
        test = [item for item in facts if item.answer in known]
        dropped = {"outside the common vocabulary": len(facts) - len(test)}
        file = None if self.train is None else self.train / f"{name}.jsonl"
        training: list[Item] = []
        if file is None or not is_there(file):
            splits = split_by_text(test, FRACTIONS, self.seed)
        else:
            training = _items(file)
            splits = self._with_training_facts(test, training, known, dropped)
        if self.answers == "any":
            splits = _with_all_answers(splits, [item for item in (*test, *training) if item.answer in known])
        splits["test"] = tuple(shuffled(splits["test"], self.seed)[: self.max_test])
        return PromptTask(
            name, tuple(words), splits, described["template"], str(described.get("label") or ""), dropped
        )

    def _with_training_facts(
        self, test: Sequence[Item], facts: Sequence[Item], known: set[str], dropped: dict[str, int]
    ) -> dict[str, tuple[Item, ...]]:
        """Test facts, and training facts about other subjects split into train and dev."""
        subjects = {item.text for item in test}
        inside = [item for item in facts if item.answer in known]
        usable = [item for item in inside if item.text not in subjects]
        dropped["training facts outside the common vocabulary"] = len(facts) - len(inside)
        dropped["training facts about a test subject"] = len(inside) - len(usable)
        used = shuffled(usable, self.seed)[: self.max_train]
        names = list(dict.fromkeys(item.text for item in used))
        held_out = set(names[: math.ceil(DEV_SHARE * len(names))] if len(names) > 1 else ())
        return {
            "train": tuple(item for item in used if item.text not in held_out),
            "dev": tuple(item for item in used if item.text in held_out),
            "test": tuple(test),
        }


def _with_all_answers(
    splits: Mapping[str, Sequence[Item]], facts: Sequence[Item]
) -> dict[str, tuple[Item, ...]]:
    """Every item with the other answers that the facts have for its subject, in their order."""
    right: dict[str, dict[str, None]] = {}
    for fact in facts:
        right.setdefault(fact.text, {})[fact.answer] = None
    return {
        split: tuple(
            Item(item.text, item.answer, tuple(word for word in right[item.text] if word != item.answer))
            for item in items
        )
        for split, items in splits.items()
    }


def _items(path: Path) -> list[Item]:
    """The facts of a relation's file.

    Raises:
        UsageError: the file holds none, or is not in the format.
    """
    rows = _rows(path, ("sub_label", "obj_label"))
    items = list(dict.fromkeys(Item(row["sub_label"].strip(), row["obj_label"].strip()) for row in rows))
    if not items:
        raise UsageError(f"{path} holds no facts: give a relation with facts, or leave it out")
    return items


def _rows(path: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; each must have text under `keys`.

    Yields:
        One object per line.

    Raises:
        UsageError: a file that cannot be read, or a line that is not in the format (with its number).
    """
    text = read_text(
        path, lambda why: UsageError(f"{path} cannot be read ({why}): give a UTF-8 file of JSON lines")
    )
    for number, row in json_lines(text, lambda n, why: UsageError(f"{path}, line {n}: not JSON ({why})")):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) and row[key] for key in keys):
            raise UsageError(f"{path}, line {number}: needs an object with text under {' and '.join(keys)}")
        yield {key: whole_text(value) if isinstance(value, str) else value for key, value in row.items()}


def _vocabulary(path: Path) -> list[str]:
    """The words of the common vocabulary, one a line.

    Raises:
        UsageError: the file cannot be read.
    """
    text = read_text(
        path, lambda why: UsageError(f"{path} cannot be read ({why}): give a UTF-8 file with one word a line")
    )
    return list(dict.fromkeys(word for line in text_lines(text) if (word := line.strip())))


def _find(root: Path, given: str | None, usual: Sequence[str], what: str) -> Path:
    found = _find_or_none(root, given, usual)
    if found is None:
        raise SOURCE.wrong(f"{root} has no {' or '.join(usual)} ({what}): give the folder of LAMA-TREx")
    return found


def _find_or_none(root: Path, given: str | None, usual: Sequence[str]) -> Path | None:
    """`root / given`, which must exist, or the first of the usual names that does.

    Raises:
        UsageError: `root / given` does not exist.
    """
    if given is not None:
        if not is_there(root / given):
            raise UsageError(f"{root / given} does not exist: name a file or folder inside {root}")
        return root / given
    return next((root / name for name in usual if is_there(root / name)), None)
