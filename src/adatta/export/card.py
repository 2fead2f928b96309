"""What a model card says to machines: metadata, results, comparison of formats (no torch)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from adatta.export.licence import Licence, is_non_commercial

_FOLDERS = re.compile(r"(?<![\w:/.<-])~?/(?:[^\s/,;:'\"`|()]+/)+")

Source = tuple[str, str | None]
"""Where training rows come from, and their licence, if anybody said it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is published: `repo` is OWNER/NAME, `base` the model that the chain started from, by its name.

    `base_id` is its Hub id, None where it has none. `model` is the training stage whose model it is, `data`
    what it was trained on, `licence` that of the base, `formats` what is uploaded.
    """

    repo: str
    model: str
    base: str
    base_id: str | None
    licence: Licence
    data: Sequence[Source]
    formats: Sequence[str]

    @property
    def forbidding(self) -> dict[str, str]:
        """Sources that forbid commercial use, with their licences; the base as well."""
        named = [(self.base, self.licence.title), *((path, text) for path, text in self.data if text)]
        return {path: text for path, text in named if is_non_commercial(text)}

    @property
    def unnamed(self) -> list[str]:
        """Sources of which nobody said the licence."""
        return [path for path, text in self.data if not text]


def build_metadata(release: Release, tables: Sequence[Mapping[str, Any]], *, language: str) -> ModelCardData:
    """Return the metadata of a card, with each figure of the published model in `model-index`.

    Args:
        release: what is published.
        tables: of the report, one a metric, each with its entry of report.json as `entry`.
        language: tag of what the model was adapted to.
    """
    licence, name = release.licence, release.repo.partition("/")[2]
    if release.forbidding and not is_non_commercial(licence.title):
        link = f"https://huggingface.co/{release.repo}#licence"
        licence = Licence(identifier="other", name=f"{licence.title}-with-non-commercial-data", link=link)
    tags = [language, *(table["entry"]["language"] for table in tables)]
    datasets = [path.removeprefix("hub:") for path, _ in release.data if path.startswith("hub:")]
    relation = "adapter" if set(release.formats) == {"adapter"} else "finetune"
    return ModelCardData(
        language=list(dict.fromkeys(tag.partition("-")[0].lower() for tag in tags)),
        license=licence.identifier,
        license_name=licence.name,
        license_link=licence.link,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=release.base_id,
        base_model_relation=relation if release.base_id else None,
        datasets=datasets or None,
        tags=["adatta", *(["non-commercial"] if release.forbidding else [])],
        model_name=name,
        eval_results=[result for table in tables for result in _list_results(table, release.model)] or None,
    )


def _list_results(table: Mapping[str, Any], model: str) -> Iterator[EvalResult]:
    """Yield a model's figure of one metric; n, interval and the base's figure stand in its name."""
    entry, rows = table["entry"], {row["name"]: row for row in table["rows"]}
    value = entry["stages"].get(model, {}).get("value")
    if value is not None:
        base, own = rows["base"], rows[model]
        unit, factor = ("%", 100) if entry["unit"] == "share" else (entry["unit"] or "no unit", 1)
        words = (
            f"{table['label']} ({unit}, n = {entry['n']}, 95% interval {own['interval']}; base "
            f"{base['value']} {base['interval']}; "
            f"difference {own['difference']} {own['difference_interval']})"
        )
        yield EvalResult(
            task_type="text-generation",
            dataset_type=re.sub(r"[^\w.-]+", "-", f"adatta-{entry.get('suite', 'own')}-{entry['task']}"),
            dataset_name=f"{entry['task']}, suite {entry.get('suite', 'own')}",
            metric_type=entry["metric"],
            metric_value=round(factor * value, 5),
            metric_name=" ".join(words.split()),
        )


def read_parity(folder: Path) -> dict[str, str]:
    """Read how each exported format compares with the merged model: its figures as a text, by its name.

    The one place that knows parity.json: `formats` holds figures by format, numbers, intervals and mappings
    that tell a change and its interval; all else in it is passed over. Empty where nothing was measured.

    Args:
        folder: of the export.
    """
    if not (folder / "parity.json").is_file():
        return {}
    content = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    return {name: "; ".join(_tell(figures)) for name, figures in content["formats"].items()}


def _tell(figures: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in figures.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping) and "change" in value:
            low, high = value["change_ci95"]
            yield f"{name} {value['change']:+.2%} against merged, 95% interval [{low:+.2%}, {high:+.2%}]"
        elif isinstance(value, Mapping) and key in ("answers", "bits_per_byte"):
            yield from _tell(value, f"{name} ")
        elif isinstance(value, int):
            yield f"{name} {value}"
        elif isinstance(value, float):
            yield f"{name} {value:.4g}"
        elif key.endswith("_ci95"):
            yield f"{name} [{value[0]:.4g}, {value[1]:.4g}]"


def hide_folders(value: Any) -> Any:
    """Leave of each absolute path its last part, in texts at any depth: a machine's folders concern nobody.

    Args:
        value: for JSON.

    Example:
        >>> hide_folders({"path": "/home/rosa/i miei dati/testi.jsonl"}), hide_folders("see ~/a/b, 3 rows/s")
        ({'path': 'testi.jsonl'}, 'see b, 3 rows/s')
    """
    if isinstance(value, Mapping):
        return {hide_folders(key): hide_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hide_folders(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return Path(value).name if value.startswith(("/", "~/")) else _FOLDERS.sub("", value)
