"""What is told of a set of preferences: its checks with their intervals, and what to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adatta.data.pairs import PairChecks

# Beyond doubt, by the interval: chosen longer (or shorter) more often than this; chosen in another language.
LONGER_SHARE = 0.6
OTHER_LANGUAGE_SHARE = 0.02


def start_checks() -> PairChecks:
    """Start the checks of one source of preferences, with the patterns of every language profile."""
    from adatta.data.pairs import PairChecks
    from adatta.evals.statistics import wilson
    from adatta.lang.identify import identify
    from adatta.lang.profile import list_profiles, load_profile

    return PairChecks(
        profiles=[load_profile(tag) for tag in list_profiles()], identify=identify, interval=wilson
    )


def describe_pairs(found: Mapping[str, Any]) -> str:
    """Describe a set in one line.

    Args:
        found: the summary of its checks.
    """
    longer, ratio = found["chosen_longer"], found["length_ratio"]
    return (
        f"{found['pairs']} pairs; chosen longer in {_percent(longer)}, median length ratio "
        f"{ratio['value']:.2f} [{ratio['ci95'][0]:.2f}, {ratio['ci95'][1]:.2f}]; repeated prompts "
        f"{found['duplicate_prompts']}, contradicting pairs {found['contradicting']['count']}; answers in "
        f"two languages {_percent(found['mixed_languages'])}, chosen in another language than the prompt "
        f"{_percent(found['other_language'])}; refusals rejected {found['refusals_rejected']}, suspected of "
        f"preferring help with harm {found['suspects']['count']}"
    )


def find_warnings(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a human should look at before training on a set.

    Args:
        found: the summary of its checks.
    """
    longer = found["chosen_longer"]["ci95"] or [0.5, 0.5]
    if longer[0] > LONGER_SHARE or longer[1] < 1 - LONGER_SHARE:
        which = "longer" if longer[0] > LONGER_SHARE else "shorter"
        yield f"chosen answers are mostly {which}: the model will learn the length"
    if (found["other_language"]["ci95"] or [0.0])[0] > OTHER_LANGUAGE_SHARE:
        yield "chosen answers are often in another language than their prompts"
    for key, what in (
        ("contradicting", "pairs that another one turns round"),
        ("suspects", "pairs that may prefer help with a harmful wish to a refusal; look at them"),
    ):
        rows = found[key]["rows"]
        if rows:
            more = f" and {found[key]['count'] - len(rows)} more" if found[key]["count"] > len(rows) else ""
            yield f"{found[key]['count']} {what}: {', '.join(rows)}{more}"


def _percent(share: Mapping[str, Any]) -> str:
    if share["value"] is None:
        return "none"
    low, high = share["ci95"]
    return f"{share['value']:.0%} [{100 * low:.0f}, {100 * high:.0f}]"
