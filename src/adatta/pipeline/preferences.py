"""What is told of a set of preferences: its checks with their intervals, and what to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Beyond doubt, by the interval: chosen longer (or shorter) more often than this; chosen in another language.
LONGER_SHARE = 0.6
OTHER_LANGUAGE_SHARE = 0.02


def describe_pairs(found: Mapping[str, Any]) -> tuple[str, bool]:
    """Describe a set in one line.

    Args:
        found: the summary of its checks.

    Returns:
        The line, and whether a human should look at the set before a model learns from it.
    """
    longer, other = found["chosen_longer"]["ci95"], found["other_language"]["ci95"]
    turned, suspects = found["contradicting"], found["suspects"]
    is_one_length = longer[0] > LONGER_SHARE or longer[1] < 1 - LONGER_SHARE
    matters = is_one_length or other[0] > OTHER_LANGUAGE_SHARE or turned["count"] + suspects["count"] > 0
    parts = (
        f"{found['pairs']} pairs: chosen longer in {_show(found['chosen_longer'], 100)}%",
        f"median length ratio {_show(found['length_ratio'], 1)}",
        f"answers in two languages {_show(found['mixed_languages'], 100)}%",
        f"chosen not in the prompt's {_show(found['other_language'], 100)}%",
        f"repeated prompts {found['repeated_prompts']}",
        f"pairs that another one turns round {_place(turned)}",
        f"refusals rejected {found['refusals_rejected']}",
        f"of these on wishes that sound harmful {_place(suspects)}",
    )
    return ", ".join(parts), matters


def _show(figure: Mapping[str, Any], factor: int) -> str:
    value, low, high = (factor * number for number in (figure["value"], *figure["ci95"]))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _place(found: Mapping[str, Any]) -> str:
    return f"{found['count']} ({', '.join(found['rows'])})" if found["count"] else "0"
