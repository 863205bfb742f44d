"""A prompt and an item -> what a frozen language model answers: layout, log-probabilities, precision@1."""

from fuse_repro.tasks.answers import Answers, answerable, check_answers
from fuse_repro.tasks.evaluate import Evaluation, Exam, Exams, averages, evaluate
from fuse_repro.tasks.layout import Layout, Row
from fuse_repro.tasks.predict import answer_log_probs, answer_logits

__all__ = [
    "Answers",
    "Evaluation",
    "Exam",
    "Exams",
    "Layout",
    "Row",
    "answer_log_probs",
    "answer_logits",
    "answerable",
    "averages",
    "check_answers",
    "evaluate",
]
