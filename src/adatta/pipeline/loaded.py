"""A model by name, to generate, complete, score and classify with: what `adatta.load` gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from adatta.core.errors import UserError
from adatta.core.progress import track
from adatta.core.records import Message, TokenRow
from adatta.lang.profile import load_profile
from adatta.pipeline.opening import Opened, open_model

if TYPE_CHECKING:
    from adatta.chat.render import Chat
    from adatta.evals.classify import Asking, Classified, Labels
    from adatta.model.completion import Completion
    from adatta.model.score import EngineName


class Drawing(TypedDict, total=False):
    """How a text is generated.

    `max_new_tokens`: its longest (512). `temperature`: 0 takes the most likely token (0). `seed` decides what
    is drawn otherwise (0). `show` is called with each piece of text as soon as it is known.
    """

    max_new_tokens: int
    temperature: float
    seed: int
    show: Callable[[str], object]


class LoadedModel:
    """A model; what a method needs of it is opened at its first use and kept until `close`."""

    def __init__(self, name: str, *, engine: str | None = None, language: str = "it") -> None:
        """Find the model.

        Args:
            name: Hub id, folder, adapter, run, GGUF file or `package:NAME/FILE`.
            engine: what generates; None takes llama.cpp for GGUF files, else transformers.
            language: tag of the profile in whose words it is asked to classify.

        Raises:
            ModelError: no such file or package.
            RecipeError: the language has no profile.
        """
        from adatta.model.name import parse_name

        self.name, self._engine = parse_name(name).name, engine
        self._profile = load_profile(language)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back memory and threads."""
        if opened := vars(self).pop("_generator", None):
            opened.engine.close()
        vars(self).pop("_scorer", None)

    def generate(self, prompt: str | Sequence[Mapping[str, Any]], **how: Unpack[Drawing]) -> str:
        """Answer a message, or a conversation whose last message is the user's.

        Args:
            prompt: the message, or messages with `role` and `content`.
            how: see `Drawing`.

        Raises:
            UserError: a message has other keys, or an option isn't known.
            ModelError: the model can't be used, or the conversation is longer than its context.
            TemplateError: the model has no chat template, or it can't be followed.
        """
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if wrong := [turn for turn in turns if turn.keys() != {"role", "content"}]:
            raise UserError(f"{wrong[0]} is no message; expected role and content, nothing else")
        return self._continue(self._generator.chat.prompt([Message(**turn) for turn in turns]), **how).text

    def complete(self, prompt: str, *, n: int = 1, **how: Unpack[Drawing]) -> list[Completion]:
        """Continue a text as it is, without a template.

        Args:
            prompt: the text; before it stands what stands before a document in training.
            n: number of continuations, each with the next seed; at temperature 0 they are the same.
            how: see `Drawing`.

        Raises:
            UserError: no text.
            ModelError: the model can't be used, or the text is longer than its context.
        """
        if not prompt:
            raise UserError("an empty text was given to complete; expected at least one character")
        ids = self._generator.chat.continuation("", prompt).ids
        first = how.get("seed", 0)
        return [self._continue(ids, **(how | {"seed": seed})) for seed in range(first, first + n)]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Give the log-prob in nats of texts behind others.

        Args:
            pairs: what is read, which may be empty, and the text behind it, with the space between them.

        Raises:
            UserError: a pair is longer than the model's context.
        """
        model, chat, _ = self._scorer
        rows = [chat.continuation(*pair) for pair in pairs]
        context = model.config.max_position_embeddings
        for number, row in enumerate(rows, start=1):
            if len(row.ids) > context:
                raise UserError(
                    f"pair {number} has {len(row.ids)} tokens, the model takes {context}; shorten it"
                )
        return self._sum(rows)

    def classify(
        self, texts: str | Sequence[str] | Mapping[str, str], labels: Labels, **how: Unpack[Asking]
    ) -> list[Classified]:
        """Say which labels fit texts, without any training.

        Args:
            texts: one text or several; by their places, where messages should name these.
            labels: names, or `name=description`; or descriptions by name.
            how: see `evals.classify.Asking`.

        Returns:
            Of each text its `labels`, and `probabilities` of all labels.

        Raises:
            UserError: labels or options can't be used.
            RowError: a text is empty, or too long for the model: nothing is cut.
        """
        from adatta.evals.classify import Question, classify

        question = Question(labels, self._profile, **how)
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, Mapping):
            texts = {f"text {number}": text for number, text in enumerate(texts, start=1)}
        model, chat, _ = self._scorer
        context = model.config.max_position_embeddings
        return classify(texts, question, chat=chat, context=context, score=self._sum)

    @cached_property
    def _generator(self) -> Opened:
        return open_model(self.name, self._engine, to_talk=False)

    @cached_property
    def _scorer(self) -> tuple[Any, Chat, EngineName]:
        from adatta.chat.render import Chat
        from adatta.evals.runner import pick_engine
        from adatta.model.load import fetch, load_model, place_model

        folder = fetch(self.name).folder
        model = place_model(load_model(folder))
        chat = Chat.load(folder, self._profile.system_prompt)
        return model, chat, pick_engine(model, chat, engine="auto")

    def _sum(self, rows: Sequence[TokenRow]) -> list[float]:
        from adatta.evals.runner import sum_groups

        model, _, engine = self._scorer
        with track(len(rows), "log-probs", unit="rows") as bar:
            return sum_groups(model, [rows], engine=engine, progress=bar.advance)[0]

    def _continue(self, ids: Sequence[int], **how: Unpack[Drawing]) -> Completion:
        from adatta.model.completion import complete
        from adatta.model.engine import Sampling

        if unknown := how.keys() - Drawing.__annotations__.keys():
            known = ", ".join(Drawing.__annotations__)
            raise UserError(f"{', '.join(sorted(unknown))} isn't known; there are: {known}")
        opened = self._generator
        if (limit := how.get("max_new_tokens", 512)) < 1:
            raise UserError(f"max_new_tokens is {limit}; expected at least 1")
        sampling = Sampling(
            stop_ids=opened.chat.stop_ids,
            limit=limit,
            seed=how.get("seed", 0),
            temperature=how.get("temperature", 0.0),
        )
        show = how.get("show", lambda piece: None)
        return complete(opened.engine, ids, chat=opened.chat, sampling=sampling, show=show)
