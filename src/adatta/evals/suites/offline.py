"""The own sets for what is reported: text, questions, minimal pairs, preferences, free answers."""

from __future__ import annotations

from adatta.evals.suite import Suite, SuiteTask

SUITE = Suite(
    name="offline",
    version=3,
    part="test",
    tasks=(
        SuiteTask(name="text_it", kind="bits_per_byte", language="it"),
        SuiteTask(name="text_en", kind="bits_per_byte", language="en"),
        SuiteTask(name="questions_it", kind="multiple_choice", language="it"),
        SuiteTask(name="questions_letters_it", kind="lettered_choice", language="it", file="questions_it"),
        SuiteTask(name="questions_en", kind="multiple_choice", language="en"),
        SuiteTask(name="pairs_it", kind="minimal_pairs", language="it"),
        SuiteTask(name="preferences_it", kind="preference_pairs", language="it"),
        SuiteTask(name="prompts_it", kind="free_answers", language="it"),
    ),
)
