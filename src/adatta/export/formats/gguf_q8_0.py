"""GGUF with 8-bit blocks: half the size of 16 bits, nearly the same answers."""

from __future__ import annotations

from pathlib import Path

from gguf import GGMLQuantizationType

from adatta.export.gguf_writer import write_gguf


def write(
    model_folder: Path, out_dir: Path, *, chat_template: str, stop_ids: tuple[int, ...], name: str
) -> list[Path]:
    """Write `<name>-q8_0.gguf` into `out_dir`; see `adatta.export.gguf_writer.write_gguf`."""
    target = out_dir / f"{name}-q8_0.gguf"
    kind = GGMLQuantizationType.Q8_0
    return [
        write_gguf(model_folder, target, kind=kind, chat_template=chat_template, stop_ids=stop_ids, name=name)
    ]


FORMAT = write
