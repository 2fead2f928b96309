"""The suite that comes with adatta: Italian and English text, questions, minimal pairs, free answers."""

from __future__ import annotations

from adatta.evals.suite import Suite, SuiteTask

SUITE = Suite(
    name="offline",
    version=1,
    tasks=(
        SuiteTask(name="text_it", kind="bits_per_byte", language="it"),
        SuiteTask(name="text_en", kind="bits_per_byte", language="en"),
        SuiteTask(name="questions_it", kind="multiple_choice", language="it"),
        SuiteTask(name="pairs_it", kind="minimal_pairs", language="it"),
        SuiteTask(name="prompts_it", kind="free_answers", language="it"),
    ),
)
