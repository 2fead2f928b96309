"""Asking a suite of models that are known in advance."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import chain

import pytest

from adatta.core.errors import EvalError, TemplateError
from adatta.core.records import Message, is_control
from adatta.evals import ask
from adatta.evals.ask import Limits, ask_suite, make_subject
from adatta.evals.suite import load_suite
from adatta.lang.profile import load_profile
from tests.toys.byte_chat import STOP_ID, ByteChat

ITALIAN = "Il faro è una torre con una luce che guida le navi di notte.".encode()
LIMITS = Limits(context=2048, max_new_tokens=96)


def run(suite, *, stage="base", chat=None, limits=LIMITS, log_probs=None, answers=None):
    """Ask a suite, with a uniform model over bytes that answers in Italian where nothing else is given."""
    return ask_suite(
        suite,
        chat or ByteChat(),
        subject=make_subject(stage, "0" * 12, load_profile("it")),
        limits=limits,
        sum_log_probs=log_probs or uniform,
        generate=answers or (lambda prompts: [(*ITALIAN, STOP_ID)] * len(prompts)),
    )


def uniform(groups):
    """Every byte has one chance in 256."""
    return [[-sum(row.weights) * math.log(256) for row in rows] for rows in groups]


def constant(groups):
    return [[-5.0] * len(rows) for rows in groups]


def oracle(suite, right=0.0, wrong=-100.0):
    """Know the right option of each item (or, with the values exchanged, avoid it), wherever it stands."""
    fields = {item.item_id: item.fields for items in suite.items().values() for item in items}

    def log_prob(index, row):
        num = len(fields[row.row_id].get("options", "ab"))
        rotation, place = divmod(index, num)
        return right if (place + rotation) % num == fields[row.row_id].get("answer", 0) else wrong

    return lambda groups: [[log_prob(index, row) for index, row in enumerate(rows)] for rows in groups]


def only_a(groups):
    """Say A wherever letters are asked for."""
    return [[0.0 if bytes(row.ids[-2:]) == b" A" else -9.0 for row in rows] for rows in groups]


def without_rules(scores):
    """Leave out the judgements of rules, which come with those of the base."""
    return [score for score in scores if score.model_fingerprint != "rule"]


def means(scores):
    values = defaultdict(list)
    for score in without_rules(scores):
        values[score.task, score.metric].append(score.score)
    return {key: sum(found) / len(found) for key, found in values.items()}


def test_uniform_model_over_bytes_needs_eight_bits_a_byte(small_suite):
    found = means(run(small_suite))
    assert found["text_it", "bits_per_byte"] == pytest.approx(8.0, abs=1e-12)
    assert found["text_en", "bits_per_byte"] == pytest.approx(8.0, abs=1e-12)


def test_uniform_model_takes_the_longest_a_byte_and_the_shortest_by_sum(small_suite):
    """The space before an option weighs least on the longest one."""
    picks = {
        (score.metric, score.item_id): score.output
        for score in run(small_suite)
        if score.task == "questions_it"
    }
    by_metric = defaultdict(set)
    for (metric, _), output in picks.items():
        by_metric[metric].add(output)
    assert by_metric == {
        "accuracy": {"quattro", "gialla | bianca"},
        "accuracy_sum": {"tre | sei | uno", "blu"},
    }
    assert means(run(small_suite))["questions_it", "accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert means(run(small_suite))["questions_it", "accuracy_sum"] == 0.0


def test_uniform_model_over_tokens_gives_the_closed_form(small_suite):
    """Bits per byte = tokens / bytes * log2 V, with two bytes a token."""
    vocabulary = 1000

    def log_probs(groups):
        return [[-sum(row.weights) / 2 * math.log(vocabulary) for row in rows] for rows in groups]

    found = means(run(small_suite, log_probs=log_probs))
    assert found["text_it", "bits_per_byte"] == pytest.approx(math.log2(vocabulary) / 2)


def test_windows_count_every_byte_once(small_suite):
    scores = [s for s in run(small_suite, limits=Limits(context=6, max_new_tokens=2)) if s.task == "text_it"]
    assert [score.num_tokens for score in scores] == [score.num_bytes for score in scores] == [15, 26]
    assert means(scores)["text_it", "bits_per_byte"] == pytest.approx(8.0, abs=1e-12)


def test_constant_model_gets_one_kth_of_every_item(small_suite):
    scores = without_rules(run(small_suite, log_probs=constant))
    for score in scores:
        if score.task == "pairs_it" or (score.task, score.metric) == ("preferences_it", "accuracy_sum"):
            assert score.score == 0.5
            assert score.output.endswith("tie")
        elif score.metric == "accuracy_sum" or score.metric.startswith("recall"):
            assert score.score == 0.25
        elif score.task == "questions_letters_it":
            assert score.score == (0.25 if score.metric == "accuracy" else 0.0)
    assert [score.metric for score in scores].count("accuracy_sum") == 6


@pytest.mark.parametrize(("right", "wrong", "expected"), [(0.0, -100.0, 1.0), (-100.0, 0.0, 0.0)])
def test_oracle_and_its_opposite_get_all_or_nothing(small_suite, right, wrong, expected):
    found = means(run(small_suite, log_probs=oracle(small_suite, right, wrong)))
    assert {key: value for key, value in found.items() if key[1].startswith("accuracy")} == {
        ("questions_it", "accuracy"): expected,
        ("questions_it", "accuracy_sum"): expected,
        ("questions_letters_it", "accuracy"): expected,
        ("questions_en", "accuracy"): expected,
        ("questions_en", "accuracy_sum"): expected,
        ("pairs_it", "accuracy"): expected,
        ("preferences_it", "accuracy"): expected,
        ("preferences_it", "accuracy_sum"): expected,
    }


def test_every_label_of_the_bundled_suite_can_be_reached():
    suite = load_suite("offline")
    scores = run(suite, log_probs=oracle(suite), limits=Limits(context=8192))
    own = without_rules(scores)
    assert all(score.score == 1.0 for score in own if score.metric.startswith("accuracy"))
    assert all(score.status == "scored" for score in scores)


def test_free_answers_judge_language_and_end(small_suite):
    english = tuple(b"A lighthouse is a tower with a light at the top.")
    answers = {True: [(*ITALIAN, STOP_ID), english], False: [(STOP_ID,), tuple(ITALIAN)]}
    for first in (True, False):
        scores = run(small_suite, answers=lambda prompts, first=first: answers[first])
        fidelity, stopped = (
            [score.score for score in scores if score.metric == metric]
            for metric in ("language_fidelity", "stop_share")
        )
        assert (sorted(fidelity), sorted(stopped)) == ([0.0, 1.0], [0.0, 1.0])
    outputs = [score.output for score in scores if score.metric == "stop_share"]
    assert outputs == ["", ITALIAN.decode()]


def test_empty_answer_fails_and_is_no_gap(small_suite):
    scores = run(small_suite, answers=lambda prompts: [(STOP_ID,)] * len(prompts))
    found = {
        score.metric: (score.status, score.score, score.reason)
        for score in scores
        if score.task == "prompts_it"
    }
    assert found == {
        "language_fidelity": ("scored", 0.0, None),
        "language_fidelity_sure": ("unscored", None, "too short to tell"),
        "line_accuracy": ("unscored", None, "no line of 5 words"),
        "language_by_line": ("unscored", None, "no line of 5 words"),
        "stop_share": ("scored", 1.0, None),
    }


def test_model_that_always_says_a_shows_by_letter(small_suite):
    scores = [s for s in run(small_suite, log_probs=only_a) if s.task == "questions_letters_it"]
    assert {(score.metric, score.score) for score in scores} == {
        *(("accuracy", 0.25), ("consistency", 0.0)),
        *(("recall_a", 1.0), ("recall_b", 0.0), ("recall_c", 0.0), ("recall_d", 0.0)),
    }
    assert {score.output for score in scores if score.metric == "accuracy"} == {"A A A A"}


def test_every_model_of_the_table_gets_the_system_prompt_and_controls_their_own(small_suite):
    given = {}
    for stage in ("base", "sft", "control-plain", "control-1-shot", "control-3-shot"):
        texts = []

        def answers(prompts, texts=texts):
            texts += [bytes(prompt).decode() for prompt in prompts]
            return [(STOP_ID,)] * len(prompts)

        scores = run(small_suite, stage=stage, answers=answers)
        given[stage] = texts[0]
        tasks = {score.task for score in scores}
        assert tasks == ({"prompts_it"} if stage.startswith("control") else {*small_suite_names(small_suite)})
    profile = load_profile("it")
    user = "<user>Dimmi che cosa è un faro."
    assert given["base"] == given["sft"] == f"<system>{profile.system_prompt}{user}"
    assert given["control-plain"] == user
    for number in (1, 3):
        examples = chain.from_iterable(profile.examples[:number])
        shown = "".join(f"<{message.role}>{message.content}" for message in examples)
        assert given[f"control-{number}-shot"] == f"<system>{profile.system_prompt}{shown}{user}"


def small_suite_names(suite):
    return [task.name for task in suite.tasks]


def test_questions_are_plain_cloze_text(small_suite):
    seen = []

    def log_probs(groups):
        seen.extend(groups)
        return constant(groups)

    run(small_suite, log_probs=log_probs)
    rows = next(rows for rows in seen if len(rows) == 4)
    texts = [bytes(token for token in row.ids if token < 256).decode() for row in rows]
    assert texts[0] == "Domanda: Quanto fa due più due?\nRisposta: tre"
    assert [sum(row.weights) for row in rows] == [
        len(f" {option}") for option in ("tre", "quattro", "sei", "uno")
    ]


def test_item_longer_than_the_context_is_unscored_with_its_reason(small_suite):
    scores = run(small_suite, limits=Limits(context=45, max_new_tokens=4))
    reasons = {(score.task, score.status, score.reason) for score in scores if score.status != "scored"}
    assert reasons == {
        ("questions_letters_it", "unscored", "longer than the context"),
        ("questions_it", "unscored", "longer than the context"),
        ("questions_en", "unscored", "longer than the context"),
        ("preferences_it", "unscored", "longer than the context"),
        ("prompts_it", "unscored", "longer than the context"),
    }
    assert all(score.score is None for score in scores if score.status != "scored")


def test_prompt_must_leave_room_for_the_answer(small_suite):
    subject = make_subject("base", "0", load_profile("it"))
    opening = len(ByteChat().prompt(subject.opening))
    context = opening + len("<user>Dimmi che cosa è un faro.".encode()) + 96
    for given, expected in ((context, "scored"), (context - 1, "unscored")):
        scores = run(small_suite, limits=Limits(context=given, max_new_tokens=96))
        first = next(score for score in scores if score.task == "prompts_it")
        assert first.status == expected


def test_broken_item_is_failed_with_its_reason(small_suite):
    class Broken(ByteChat):
        def continuation(self, context, text, *, row_id=""):
            if "quattro" in text:
                raise TemplateError("the text can't be encoded")
            return super().continuation(context, text, row_id=row_id)

    scores = [score for score in run(small_suite, chat=Broken()) if score.task == "questions_it"]
    assert [(score.status, score.reason) for score in scores[:2]] == [
        ("failed", "the text can't be encoded")
    ] * 2
    assert [score.status for score in scores[2:]] == ["scored"] * 2


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_log_prob_that_is_no_number_fails_its_item_only(small_suite, value):
    def log_probs(groups):
        sums = constant(groups)
        sums[-1][0] = value
        return sums

    failed = [score for score in run(small_suite, log_probs=log_probs) if score.status != "scored"]
    last = small_suite.items()["preferences_it"][-1]
    assert [(score.item_id, score.metric) for score in failed] == [
        (last.item_id, "accuracy"),
        (last.item_id, "accuracy_sum"),
    ]
    for score in failed:
        assert (score.status, score.reason) == ("failed", "a log-prob is not a finite number")
        assert score.score is None


def test_other_errors_end_the_run(small_suite):
    def log_probs(groups):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(small_suite, log_probs=log_probs)


def test_too_few_results_end_the_run(small_suite):
    with pytest.raises(ValueError, match="shorter"):
        run(small_suite, answers=lambda prompts: [(STOP_ID,)])


def test_prompt_hash_is_of_the_question_and_not_of_the_model(small_suite):
    first, second = run(small_suite), run(small_suite, stage="sft", log_probs=constant)
    assert [score.prompt_hash for score in without_rules(first)] == [score.prompt_hash for score in second]
    shorter = run(small_suite, limits=Limits(context=2048, max_new_tokens=8))
    changed = {a.task for a, b in zip(first, shorter, strict=True) if a.prompt_hash != b.prompt_hash}
    assert changed == {"prompts_it"}


def test_scores_come_in_the_order_of_the_suite(small_suite):
    scores = run(small_suite)
    assert [score.task for score in scores] == [
        *["text_it"] * 2,
        *["text_en"] * 2,
        *["questions_it"] * 4,
        *["questions_letters_it"] * 12,
        *["questions_en"] * 4,
        *["pairs_it"] * 2,
        *["preferences_it"] * 4,
        *["prompts_it"] * 10,
        *["preferences_it"] * 8,  # two rules, which come last
    ]
    ids = {item.item_id for items in small_suite.items().values() for item in items}
    assert {score.item_id for score in scores} == ids


def test_rules_judge_preferences_beside_the_base_only(small_suite):
    """The rejected answers: one longer and in Italian as the chosen one, the other shorter and in English."""
    stages = ("control-longer", "control-language")
    scores = [score for score in run(small_suite) if score.stage in stages]
    assert [(score.stage, score.metric, score.group, score.score) for score in scores] == [
        (stage, metric, group, value)
        for group, by_rule in (("wrong_fact", (0.0, 0.5)), ("wrong_language", (1.0, 1.0)))
        for stage, value in zip(stages, by_rule, strict=True)
        for metric in ("accuracy", "accuracy_sum")
    ]
    asked = [score for score in run(small_suite) if (score.task, score.stage) == ("preferences_it", "base")]
    hashes = {score.item_id: score.prompt_hash for score in asked}
    assert all(score.prompt_hash == hashes[score.item_id] for score in scores)
    assert {score.stage for score in run(small_suite, stage="sft")} == {"sft"}


def test_plain_control_refuses_a_chat_that_inserts_a_prompt(small_suite):
    with pytest.raises(EvalError, match="without a system prompt"):
        run(small_suite, stage="control-plain", chat=ByteChat(system_prompt="Sei utile."))


def test_unknown_control_is_refused():
    with pytest.raises(EvalError, match="control-plain, control-1-shot, control-3-shot"):
        make_subject("control-2-shot", "0", load_profile("it"))


def test_subject_of_a_stage_opens_with_the_profiles_prompt():
    subject = make_subject("dpo-2", "0", load_profile("it"))
    assert subject.opening == (Message(role="system", content=load_profile("it").system_prompt),)
    assert not is_control(subject.stage)
    assert is_control(ask.CONTROL_PLAIN)


def test_model_without_template_is_asked_all_that_needs_none():
    chat = ByteChat()
    chat.template = None
    with_template = {(s.task, s.metric, s.item_id): s for s in run(load_suite("offline"))}
    tasks = {task.name: task.task.is_chat for task in load_suite("offline").tasks}
    assert {name for name, is_chat in tasks.items() if is_chat} == {"prompts_it", "preferences_it"}
    scores = run(load_suite("offline"), chat=chat)
    for score in scores:
        before = with_template[score.task, score.metric, score.item_id]
        if score.stage.startswith("control-"):
            continue  # the rules need no model
        if tasks[score.task]:
            assert (score.status, score.reason) == ("unscored", "no chat template")
            assert score.prompt_hash == before.prompt_hash
    plain = [score for score in scores if not tasks[score.task]]
    assert plain == [score for score in with_template.values() if not tasks[score.task]]
