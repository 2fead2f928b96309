"""Random token rows for toy models: reproducible, of unequal lengths, with and without shared prefixes."""

from __future__ import annotations

import random

from adatta.core.records import TokenRow

_FIRST_ID, _LAST_ID = 3, 399  # after the special tokens


def random_ids(generator: random.Random, num_tokens: int) -> tuple[int, ...]:
    """Draw plain ids."""
    return tuple(generator.randint(_FIRST_ID, _LAST_ID) for _ in range(num_tokens))


def token_row(ids: tuple[int, ...], *, unscored: int, row_id: str, branch: int = 0) -> TokenRow:
    """Return a row whose first `unscored` tokens have weight 0 and whose others have 1."""
    weights = tuple(0.0 if index < unscored else 1.0 for index in range(len(ids)))
    return TokenRow(ids=ids, weights=weights, row_id=row_id, branch=branch)


def conversations(num: int, *, seed: int = 0, longest: int = 40) -> list[tuple[TokenRow, ...]]:
    """Return groups of one row each."""
    generator = random.Random(seed)
    return [
        (
            token_row(
                random_ids(generator, generator.randint(8, longest)),
                unscored=generator.randint(1, 6),
                row_id=f"row-{number}",
            ),
        )
        for number in range(num)
    ]


def preferences(num: int, *, seed: int = 0, longest: int = 20) -> list[tuple[TokenRow, ...]]:
    """Return groups of two rows that share a prompt."""
    generator = random.Random(seed)
    groups = []
    for number in range(num):
        prompt = random_ids(generator, generator.randint(4, longest))
        groups.append(
            tuple(
                token_row(
                    prompt + random_ids(generator, generator.randint(3, longest)),
                    unscored=len(prompt),
                    row_id=f"pair-{number}",
                    branch=branch,
                )
                for branch in (0, 1)
            )
        )
    return groups


def branching_rows(*, seed: int = 0) -> list[TokenRow]:
    """Return rows that share long and short prefixes, one that is a prefix of another, and a lone one."""
    generator = random.Random(seed)
    stem = random_ids(generator, 20)
    ids = [
        stem + random_ids(generator, 10),
        stem + random_ids(generator, 25),
        stem[:7] + random_ids(generator, 5),
        stem[:12],
        random_ids(generator, 30),
        stem + random_ids(generator, 1),
    ]
    return [
        TokenRow(
            ids=row_ids,
            weights=tuple(generator.choice((0.0, 1.0, 0.5)) for _ in row_ids),
            row_id=f"branch-{number}",
        )
        for number, row_ids in enumerate(ids)
    ]
