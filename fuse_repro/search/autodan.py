"""AutoDAN with a beam (Zhu et al. 2023, as FUSE uses it: arXiv 2408.04816, section 4.2)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from fuse_repro.errors import require
from fuse_repro.objectives import PromptBatch, prompt_nll
from fuse_repro.search.candidates import Candidate, closings, evenly, propose
from fuse_repro.search.constraints import Constraints, Permitted
from fuse_repro.search.frontier import best_first, make_frontier
from fuse_repro.search.lockstep import check_together, side_by_side
from fuse_repro.search.metering import Counts, check_bounds
from fuse_repro.search.problem import Hypothesis, PromptProblem, SearchResult, StepListener
from fuse_repro.search.proposal import Proposal
from fuse_repro.search.refinement import Refinement
from fuse_repro.search.requests import Advance, Announce, Steps
from fuse_repro.search.screening import Screen, screened
from fuse_repro.search.trials import Trials
from fuse_repro.search.unread import Opening, State

ENDS_SENTENCE = re.compile(r"[.!?…。！？]['\")\]’”]*$")
STOPS = ("sentence_end", "never")


@dataclass(frozen=True)
class AutoDAN(Proposal):
    """Extends prompts token by token.

    Every step scores all next tokens of every prompt in the beam (see Proposal). It computes the true
    objective of the `candidates` best tokens of each prompt, and keeps the `beam` best prompts.

    Attributes:
        candidates: how many next tokens of every prompt are evaluated in a step (paper: 512).
        beam: how many prompts are kept (paper: 5; 1 is greedy).
        max_new_tokens: how many tokens are added at the most.
        stop: "sentence_end" also tries . ! ? after every prompt. It sets prompts that end a sentence aside,
            and returns the best of those. "never" takes all steps and returns the best prompt.
        patience: with "sentence_end", the search ends early once the best finished prompt has not changed for
            so many steps; 0: never early.
        frontier: "beam" extends all prompts kept, "greedy" keeps one, "uniform_cost" extends the best one
            only, whatever its length (see fuse_repro.search.frontier).
        max_evaluations: how often the objective may be computed; None: no bound.
        max_flops: the search ends with the step in which the models have computed so many floating-point operations;
            None: no bound.
        max_seconds: the search ends with the step in which so many seconds have gone by, of its own and of those that
            go on side by side with it; None: no bound.
        constraints: what may stand behind the prefix.
        screen: all candidates are scored in bfloat16, and so many of every prompt's `candidates` again in float32:
            the best ones of a step, whichever prompts they extend, apart for those that end a sentence. Those alone
            can be kept. None: all are scored in the models' own precision, once.
        refinement: how whole prompts are changed after growth; None: the search ends with growth.
        together: how many photographs or texts are searched for side by side, sharing forward passes; None for as many
            as suit the device and its memory. The results are those of one by one, to rounding.

    Raises:
        UsageError: a setting out of range.
    """

    candidates: int = 512
    beam: int = 5
    max_new_tokens: int = 16
    stop: str = "sentence_end"
    patience: int = 4
    frontier: str = "beam"
    max_evaluations: int | None = None
    max_flops: float | None = None
    max_seconds: float | None = None
    constraints: Constraints = field(default_factory=Constraints)
    screen: int | None = None
    refinement: Refinement | None = None
    together: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        make_frontier(self.frontier, self.beam)
        check_bounds(self.max_evaluations, self.max_flops, self.max_seconds)
        check_together(self.together)
        for name in ("candidates", "max_new_tokens"):
            require(getattr(self, name) >= 1, f"optimizer.{name}", getattr(self, name), "at least 1")
        require(self.patience >= 0, "optimizer.patience", self.patience, "at least 0")
        require(self.stop in STOPS, "optimizer.stop", self.stop, f"one of {', '.join(STOPS)}")
        good = self.refinement is None or (isinstance(self.refinement, Refinement) and self.uses_gradients)
        allowed = "null, or a fuse_repro.search.Refinement with optimizer.gradient_weight above 0"
        require(good, "optimizer.refinement", self.refinement, allowed)
        if self.screen is not None:
            Screen(self.screen, self.candidates, self.beam)

    def search(self, problem: PromptProblem, on_step: StepListener | None = None) -> SearchResult:
        """Minimise the objective, starting from the problem's prefix.

        Args:
            problem: what is minimised.
            on_step: called with the beam of every step.

        Raises:
            UsageError: the prefix is not read back as it is written, or no candidate is left.
        """
        (ended,) = side_by_side(self, [problem], on_step)
        return ended.found()

    def asking(
        self, problem: PromptProblem, counts: Counts, on_step: StepListener | None = None
    ) -> Steps[SearchResult]:
        """`search` as a generator of requests; `counts` is told what was computed, by whoever answers them."""
        frontier = make_frontier(self.frontier, self.beam)
        permitted = self.constraints.of(problem, self.max_new_tokens)
        prompts, owners = [_start(problem, self.reads_lm(problem))], [0]
        longest, limit = len(prompts[0].ids) + self.max_new_tokens, frontier.steps(self.max_new_tokens)
        waiting: list[Hypothesis] = []
        state = yield from self.begin(problem, prompts)
        steps: list[tuple[Hypothesis, ...]] = []
        finished: list[Hypothesis] = []
        unchanged = 0
        while True:
            candidates = yield from self._propose(problem, prompts, state, permitted)
            if self.max_evaluations is not None:
                candidates = evenly(candidates, self.max_evaluations - counts.evaluations)
            if self.screen is None:  # else they are read in bfloat16 first
                yield Announce(problem, [c.text for c in candidates])
            extended = self._evaluate(problem, prompts, owners, state, candidates)
            before = finished
            finished = best_first([*before, *(h for h in extended if h.finished)])[:1]
            unchanged = unchanged + 1 if finished and before and finished[0].ids == before[0].ids else 0
            going_on = [h for h in extended if not h.finished]
            prompts, waiting = frontier.choose(waiting, going_on, longest)
            beam = best_first([*finished, *prompts, *waiting])
            steps.append(tuple(beam))
            if on_step is not None:
                on_step(beam)
            spent = counts.evaluations == self.max_evaluations or counts.reach(
                self.max_flops, self.max_seconds
            )
            if not prompts or len(steps) == limit or spent or 0 < self.patience <= unchanged:
                break
            if all(h.parent in owners for h in prompts):  # from those just extended, as a beam's always are
                state = yield _advance(state, owners, prompts)
            else:
                state = yield from self.begin(problem, prompts)
            owners = [beam.index(h) for h in prompts]
            finished = [replace(h, parent=beam.index(h)) for h in finished]
            waiting = [replace(h, parent=beam.index(h)) for h in waiting]
        best = (finished or beam)[0]
        for buffer in self._refined(problem, counts, permitted, finished or beam, longest):
            steps.append(tuple(buffer))
            best = buffer[0]
            if on_step is not None:
                on_step(buffer)
        return SearchResult(best, tuple(steps), counts.evaluations, counts.gradients)

    def _refined(
        self,
        problem: PromptProblem,
        counts: Counts,
        permitted: Permitted,
        grown: Sequence[Hypothesis],
        longest: int,
    ) -> Iterator[list[Hypothesis]]:
        """The buffer after every step of the refinement, if there is one; what grew to a sentence stays one."""
        if self.refinement is None or counts.reach(self.max_flops, self.max_seconds):
            return
        trials = Trials(problem, counts, self.max_evaluations, permitted)
        trials.remember(grown)
        whole = all(h.finished for h in grown)
        for buffer in self.refinement.walk(
            trials,
            grown,
            longest,
            lambda text: not whole or bool(ENDS_SENTENCE.search(text)),
            lambda texts: self.in_context(problem, texts),
        ):
            yield buffer
            if counts.reach(self.max_flops, self.max_seconds):
                return

    @property
    def uses_gradients(self) -> bool:
        """Whether terms need adapters that carry their gradients."""
        return self.gradient_weight > 0

    def _propose(
        self, problem: PromptProblem, prompts: Sequence[Hypothesis], state: State, permitted: Permitted
    ) -> Steps[list[Candidate]]:
        """The most promising extensions of every prompt, and its sentence ends."""
        tokenizer = problem.lm.tokenizer
        scores = yield from self.scoring(problem, prompts, state)
        ids = [h.ids for h in prompts]
        scores = permitted.masked(scores, ids)
        candidates = propose(scores, ids, tokenizer, self.candidates, permitted.keeps)
        if self.stop == "sentence_end":
            known = {(c.row, c.token) for c in candidates}
            ends = closings(ids, [h.text for h in prompts], tokenizer)
            fine = [c for c in ends if permitted.keeps((*ids[c.row], c.token), c.text)]
            candidates += [c for c in fine if (c.row, c.token) not in known]
        return candidates

    @torch.no_grad()
    def _evaluate(
        self,
        problem: PromptProblem,
        prompts: Sequence[Hypothesis],
        owners: Sequence[int],
        state: State,
        candidates: Sequence[Candidate],
    ) -> list[Hypothesis]:
        """The candidates that may be kept, by the true objective: the `beam` best open ones, and the best finished one.

        `owners` are the prompts' places in the last beam. A candidate's likelihood needs no forward pass of
        its own: the log-probabilities that proposed it already hold it. If nothing needs likelihoods, none
        are computed and all are 0.
        """
        log_probs = state.log_probs
        rows = torch.tensor([c.row for c in candidates], device=log_probs.device)
        tokens = torch.tensor([c.token for c in candidates], device=log_probs.device)
        before = log_probs.new_tensor([h.nll for h in prompts])
        counts = not isinstance(state, Opening)  # else the token is the first one, which is not scored
        nll = before[rows] - log_probs[rows, tokens] * counts
        scored = log_probs.new_tensor([h.scored + counts for h in prompts])[rows]
        batch = PromptBatch([c.text for c in candidates], problem.targets)
        if self.reads_lm(problem):
            batch = replace(batch, nll=nll, scored=scored)
        if self.screen is None:
            values = problem.objective(batch)
        else:
            ends = [self._ends(candidate) for candidate in candidates]
            screen = Screen(self.screen, self.candidates, self.beam)
            again, values = screened(problem.objective, batch, ends, screen, log_probs.device)
            candidates, nll = [candidates[place] for place in again], nll[again]
        finished = self._kept(candidates, values.total.tolist())
        places = torch.tensor(list(finished), device=log_probs.device)
        found = values.at(places)
        columns = (found.total.tolist(), nll[places].tolist(), found.rows())
        return [
            Hypothesis(
                ids=(*prompts[candidates[place].row].ids, candidates[place].token),
                text=candidates[place].text,
                nll=own_nll,
                scored=prompts[candidates[place].row].scored + counts,
                objective=total,
                terms=terms,
                parent=owners[candidates[place].row],
                finished=finished[place],
            )
            for place, total, own_nll, terms in zip(finished, *columns, strict=True)
        ]

    def _kept(self, candidates: Sequence[Candidate], totals: Sequence[float]) -> dict[int, bool]:
        """Places of candidates that may be kept, best first, and whether each ends a sentence."""
        kept: dict[int, bool] = {}
        room = {False: self.beam, True: int(self.stop == "sentence_end")}
        for place in sorted(range(len(totals)), key=totals.__getitem__):
            finished = self._ends(candidates[place])
            if room[finished] > 0:
                kept[place] = finished
                room[finished] -= 1
            if not any(room.values()):
                break
        return kept

    def _ends(self, candidate: Candidate) -> bool:
        """Whether a candidate is set aside, as one that ends a sentence."""
        return self.stop == "sentence_end" and bool(ENDS_SENTENCE.search(candidate.text))


def _start(problem: PromptProblem, reads_lm: bool = True) -> Hypothesis:
    """The prefix as the first hypothesis; without the language model its likelihood is 0 over 0 tokens.

    Raises:
        UsageError: the prefix is not read back as it is written.
    """
    ids = problem.prefix_ids()
    nll, scored = 0.0, 0
    if reads_lm and not Opening.fits(problem.lm, ids):
        values, counts = prompt_nll(problem.lm, [ids])
        nll, scored = float(values[0]), int(counts[0])
    return Hypothesis(ids, problem.prefix, nll, scored, float("inf"), {})


def _advance(state: State, owners: Sequence[int], prompts: Sequence[Hypothesis]) -> Advance:
    """Asks for the language model's state of the new prompts; `owners` are the old ones' places in their beam."""
    device = state.log_probs.device
    parents = torch.tensor([owners.index(h.parent) for h in prompts], device=device)
    return Advance(state, parents, torch.tensor([h.ids[-1] for h in prompts], device=device))
