"""A backend of lm-evaluation-harness on forests: `lm_eval --model adatta --model_args pretrained=NAME`.

Encoding, truncation and order are the harness' own, its class for transformers being the parent. What is
computed differs. `python -m adatta.evals.backend ARGUMENTS` is the harness' command line with this backend,
for those of its versions that don't look for plugins (up to 0.4.13).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from adatta.core.errors import EvalError
from adatta.core.progress import track
from adatta.core.records import TokenRow
from adatta.evals.journal import Journal
from adatta.evals.runner import FOREST_TOKENS, NOTHING_KEPT, PROBE, RowScore, answer_prompts, score_rows
from adatta.model.exactness import choose_engine
from adatta.model.load import fetch, load_model, place_model

Texts = tuple[str, str] | None  # context and continuation; a window has none
Request = tuple[Texts, list[int], list[int]]
ALL_WINDOWS = 1_000_000
OF_GREEDY = {"do_sample", "temperature"}


@register_model("adatta")
class ForestLM(HFLM):  # type: ignore[misc]  # the harness has no types
    """Log-probs by forests, which compute once what requests share; greedy answers by batches.

    `truncated` names what lost ids on its left, as the harness cuts it: request and number of ids. `journal`
    keeps what was computed; its file belongs to one model.
    """

    truncated: list[tuple[str, int]]
    journal: Journal

    def __init__(
        self,
        pretrained: str,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | None = None,
        engine: str = "auto",
        forest_tokens: int = FOREST_TOKENS,
        batch_size: Any = None,
        **options: Any,
    ) -> None:
        """Load a model.

        Args:
            pretrained: Hub id, folder, adapter, run, GGUF file or `package:NAME/FILE`.
            dtype: Of the weights; `auto` is the one that they are stored in.
            device: None takes a GPU that has room for the model.
            engine: `auto`, or as in `model.score.score`.
            forest_tokens: Largest forest, in tokens.
            batch_size: Taken and not used: forests are as large as `forest_tokens` says.
            **options: Of the harness' class for transformers, such as `max_length` and `add_bos_token`.

        Raises:
            ModelError: The model can't be found or used.
            ExactnessError: The engine that was asked for isn't exact on it.
        """
        folder = fetch(pretrained).folder
        model = load_model(folder, getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype)
        model = model.to(device) if device else place_model(model)
        super().__init__(model, tokenizer=str(folder), batch_size=1, **options)
        self.engine = choose_engine(model, self.tok_encode(PROBE), engine=engine)
        self.forest_tokens = forest_tokens
        self.truncated = []
        self.journal = NOTHING_KEPT
        ends = model.generation_config.eos_token_id
        self.stop_ids = {self.eot_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[RowScore]:
        """Score continuations, for pairs of texts and for windows of long ones."""
        rows = [self._make_row(number, *request) for number, request in enumerate(requests)]
        found: dict[int, RowScore] = {}
        with track(len(rows), "log-probs", unit="requests") as bar:
            for scores in score_rows(
                self.model,
                rows,
                engine=self.engine,
                forest_tokens=self.forest_tokens,
                journal=self.journal,
            ):
                found |= scores
                self._keep({requests[number][0]: score for number, score in scores.items()})
                bar.advance(len(scores))
        return [found[number] for number in range(len(rows))]

    def _keep(self, scores: Mapping[Texts, RowScore]) -> None:
        for texts, score in scores.items():
            if texts:
                self.cache_hook.add_partial("loglikelihood", texts, score)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Score long texts in the harness' windows, all of them in one call."""
        self.batch_size_per_gpu = ALL_WINDOWS
        try:
            sums: list[float] = super().loglikelihood_rolling(requests, disable_tqdm)
        finally:
            self.batch_size_per_gpu = 1
        return sums

    def _make_row(self, number: int, texts: Texts, context: list[int], end: list[int]) -> TokenRow:
        """Cut a request on the left to what the model takes, its last id besides, and mark what is scored."""
        ids = (context + end)[-(self.max_length + 1) :]
        if lost := len(context) + len(end) - len(ids):
            self.truncated.append((texts[0] if texts else "a window", lost))
        weights = (0.0,) * (len(ids) - len(end)) + (1.0,) * len(end)
        return TokenRow(ids=tuple(ids), weights=weights, row_id=str(number))

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer greedily; sampling, beams and thoughts to be cut are left to the harness' own way."""
        answers: dict[int, str] = {}
        groups: dict[str, list[int]] = defaultdict(list)
        for number, request in enumerate(requests):
            groups[repr(request.args[1])].append(number)
        for members in groups.values():
            options = normalize_gen_kwargs(requests[members[0]].args[1], self.max_gen_toks)
            limit, stops = options.pop("max_gen_toks"), options.pop("until", None)
            is_greedy = not options["do_sample"] and options.keys() <= OF_GREEDY
            if is_greedy and self.think_end_token is None:
                texts = self._answer([requests[number].args[0] for number in members], stops, limit)
            else:
                texts = super().generate_until([requests[number] for number in members], disable_tqdm)
            answers |= zip(members, texts, strict=True)
        for number, request in enumerate(requests):
            self.cache_hook.add_partial("generate_until", request.args, answers[number])
        return [answers[number] for number in range(len(requests))]

    def _answer(self, contexts: Sequence[str], stops: list[str] | None, limit: int) -> list[str]:
        end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stops = handle_stop_sequences(stops, eos=end)
        prompts = [self._cut(context, self.max_length - limit) for context in contexts]
        options = {"stop_ids": sorted(self.stop_ids), "limit": limit, "pad_id": self.tokenizer.pad_token_id}
        with track(len(prompts), "answers", unit="answers") as bar:
            answers = answer_prompts(
                self.model,
                prompts,
                options=options,
                is_done=self._watch(stops),
                mark=stops,
                journal=self.journal,
                progress=bar.advance,
            )
        return [postprocess_generated_text(self.tok_decode(ids), stops, None) for ids in answers]

    def _cut(self, context: str, room: int) -> tuple[int, ...]:
        """Encode a prompt, cut on the left to what leaves room for the answer."""
        if room < 1:
            raise EvalError(
                f"an answer as long as asked for leaves {room} of {self.max_length} ids to its prompt; lower "
                "max_gen_toks"
            )
        ids = self.tok_encode(context)
        if len(ids) > room:
            self.truncated.append((context, len(ids) - room))
        return tuple(ids[-room:])

    def _watch(self, stops: Sequence[str]) -> Callable[[Sequence[int]], bool]:
        """Return what sees that an answer holds one of the texts; an id is at least a byte of one."""
        longest = max((len(stop.encode()) for stop in stops), default=0)

        def is_done(ids: Sequence[int]) -> bool:
            tail = self.tok_decode(ids[-longest - 1 :])
            return any(stop in tail for stop in stops if stop)

        return is_done


if __name__ == "__main__":
    cli_evaluate()
