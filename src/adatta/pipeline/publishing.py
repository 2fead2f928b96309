"""Publish a finished run: its model, in the formats it has, with a card made from its report and records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from adatta import __version__
from adatta.core.artefact import Artefact, read_current, verify
from adatta.core.errors import GuardError, PublishError
from adatta.core.recipe import load_recipe
from adatta.core.records import BASE
from adatta.pipeline.numbers import show_bytes
from adatta.pipeline.plan import TRAINING
from adatta.pipeline.report import load_template
from adatta.pipeline.report_view import build_view

if TYPE_CHECKING:
    from adatta.export.card import Release, Source
    from adatta.model.name import ModelName

Files = dict[str, Path | bytes]
"""Files by their path in the repository, as files of this machine or as content."""
_CONFIG, _WEIGHTS = "adapter/adapter_config.json", "adapter/adapter_model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run that came to its end: training stages, exports of the last one's model, report.json, recipe.

    `reasons` are why it should not be published: what a guard says, what the report lacks.
    """

    folder: Path
    trained: Sequence[Artefact]
    exports: Sequence[Artefact]
    report: Mapping[str, Any]
    recipe: Mapping[str, Any]
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """All that is uploaded, the model card among it, and the message of the commit."""

    release: Release
    card: str
    files: Files
    message: str

    def lines(self, *, is_public: bool) -> Iterator[str]:
        """Yield where it goes, a line a file, and what the owner should know before.

        Args:
            is_public: whether everybody may see it.
        """
        release, sizes = self.release, sizes_of(self.files)
        yield f"to {release.repo}, {'public' if is_public else 'private'}: {self.message}"
        for path, size in (*sorted(sizes.items()), (f"{len(sizes)} files", sum(sizes.values()))):
            yield f"{show_bytes(size):>9}  {path}"
        if release.unnamed:
            yield f"warning: add `license:` to the data of the recipe: {', '.join(release.unnamed)}"
        if release.forbidding:
            yield f"warning: marked as not for commercial use: {', '.join(release.forbidding)}"
        if release.licence.rule and not any(path.startswith("LICEN") for path in sizes):
            yield f"warning: add the text of the base's licence as LICENSE: {release.licence.rule['link']}"


def prepare_publication(name: str, repo: str, *, formats: Sequence[str], anyway: bool) -> Publication:
    """Collect what is uploaded of a run, and write its card; nothing is sent.

    Args:
        name: the run's folder, or its name in runs/.
        repo: OWNER/NAME.
        formats: which of the run's; all of them when empty.
        anyway: whether a guard that says no is overruled.

    Raises:
        PublishError: the run has no such format.
        GuardError: the run's guard says no, or its figures aren't all there.
        AdattaError: there is no such run or repository name, or a licence doesn't allow it.
    """
    from adatta.export.card import Release, hide_folders
    from adatta.export.hub import require_repo
    from adatta.export.licence import find_licence, require_name

    require_repo(repo)
    run = open_run(name)
    if run.reasons and not anyway:
        raise GuardError("\n  ".join(["not published without --anyway:", *run.reasons]))
    base, said, sources = trace(run)
    kept = find_licence(base, said)
    require_name(kept, repo)
    offered = list_formats(run, base)
    chosen = list(formats or offered)
    if not chosen or set(chosen) - set(offered):
        given, there = ", ".join(chosen) or "all", ", ".join(offered) or "nothing"
        raise PublishError(f"run {name} has {there} to publish, asked for: {given}; see export.formats")
    release = Release(
        repo=repo,
        model=run.trained[-1].record["name"],
        base=hide_folders(base.name),
        base_id=base.repository,
        licence=kept,
        data=[(hide_folders(path), text) for path, text in sources],
        formats=chosen,
    )
    files = write_papers(release) | {path: file for kind in chosen for path, file in offered[kind].items()}
    card = write_card(release, run, files=files)
    files["README.md"] = card.encode("utf-8")
    message = f"Publish {run.folder.resolve().name} by adatta {__version__}"
    return Publication(release=release, card=card, files=files, message=message)


def open_run(name: str) -> FinishedRun:
    """Find a run and the newest chain that came to its end in it; its files must be those of the records.

    Args:
        name: its folder, or its name in runs/.

    Raises:
        PublishError: it is no run, or one without a model or a report.
        AdattaError: nothing of that name is there, the run didn't come to its end, or its files changed.
    """
    from adatta.model.name import parse_name

    found = parse_name(name)
    if found.kind != "run" or found.path is None:
        raise PublishError(f"{name} isn't a run; give a folder of runs/ that `adatta run` finished")
    chain = [verify(found.path / stage["folder"]) for stage in read_current(found.path)["stages"]]
    trained = [one for one in chain if one.record["kind"] in TRAINING]
    reports = [one for one in chain if one.record["kind"] == "report"]
    if not trained or not reports:
        raise PublishError(f"run {name} needs a training stage and `report: {{}}` to be published")
    last, report = trained[-1].record, reports[-1]
    content = json.loads((report.folder / "report.json").read_text(encoding="utf-8"))
    reasons = [line for one in chain for line in one.record["results"].get("not_held", ())]
    reasons += content["problems"]
    if last["name"] not in content["expected"]["evaluated"]:
        reasons.append(f"{last['name']}, whose model is published, was not measured")
    mine = [last["fingerprint"]]
    return FinishedRun(
        folder=found.path,
        trained=trained,
        exports=[one for one in chain if one.record["kind"] == "export" and one.record["parents"] == mine],
        report={"clean": [], **content},  # which older versions didn't write
        recipe=report.record["recipe"],
        reasons=reasons,
    )


def trace(run: FinishedRun) -> tuple[ModelName, str | None, list[Source]]:
    """Follow a run to the model that it started from, through runs that were its base.

    Args:
        run: the run.

    Returns:
        The base, on the Hub at the commit that was trained; the licence that recipes name for it; and all
        that was trained on, each with the licence that the recipe names now, else the one that it named then.

    Raises:
        PublishError: the base was a folder that isn't there, or an adapter of the Hub.
    """
    from adatta.model.files import locate
    from adatta.model.name import parse_name

    first, recipe = run.trained[0].record, load_recipe(run.folder / "recipe.yaml").recipe
    base = parse_name(first["recipe"]["model"]["name"], revision=first["recipe"]["model"]["revision"])
    commit: str = first["inputs"]["model"]["fingerprint"]
    before: list[Source] = []
    said = recipe.model.license
    if base.kind == "run":
        start = open_run(base.name)
        if read_current(start.folder)["model"] and locate(base.name).fingerprint != commit:
            raise PublishError(f"the base {base.name} was changed since; run its recipe as it was then")
        base, earlier, before = trace(start)
        said = said or earlier
    elif base.kind == "hub" and len(commit) != 40:
        raise PublishError(f"the base {base.name} was a folder or an adapter; publish where its folder is")
    elif base.kind == "hub":
        base = replace(base, revision=commit)
    data = [source for stage in recipe.stages if stage.kind in TRAINING for source in stage.training.data]
    named = {source.path: source.license for source in data if source.license}
    used = [source for artefact in run.trained for source in artefact.record["settings"]["data"]]
    own = [(one["path"], named.get(one["path"]) or one.get("license")) for one in used]
    return base, said, [*before, *own]


def list_formats(run: FinishedRun, base: ModelName) -> dict[str, Files]:
    """List what a run has to publish, by format: what was exported, else what the last stage left.

    An adapter is there only where its base is on the Hub. An export's folder is called as its format.

    Args:
        run: the run.
        base: what it started from.
    """
    last, formats = run.trained[-1], dict[str, Files]()
    if last.has_model:
        formats["safetensors"] = {path.name: path for path in sorted((last.folder / "model").iterdir())}
    is_measured = last.record["settings"]["merge"]["into"] != "dequantised"  # else it is another model
    if is_measured and last.record["inputs"]["model"]["name"] == BASE:
        formats["adapter"] = {f"adapter/{path.name}": path for path in (last.folder / "adapter").iterdir()}
    for artefact in run.exports:
        prefix = f"{artefact.record['recipe']['name']}-"
        for file in artefact.record["results"]["exported"]:
            path = artefact.folder / file
            kind = f"gguf-{path.stem.removeprefix(prefix).removeprefix('Modelfile-')}"
            name = file.partition("/")[0].removeprefix(prefix) if "/" in file else kind
            place = f"adapter/{path.name}" if name == "adapter" else path.name
            formats.setdefault(name, {})[place] = path
    adapter = formats.pop("adapter", {})
    if base.repository and run.recipe["model"]["name"] == base.name and set(adapter) == {_CONFIG, _WEIGHTS}:
        config = json.loads(Path(str(adapter[_CONFIG])).read_text(encoding="utf-8"))
        # What a stage left names a folder of this machine.
        config |= {"base_model_name_or_path": base.repository, "revision": base.revision}
        formats["adapter"] = {**adapter, _CONFIG: json.dumps(config, indent=2).encode("utf-8")}
    return formats


def write_papers(release: Release) -> Files:
    """Return the base's licence and notices, and the notice that its licence asks for."""
    papers = release.licence.papers
    files: Files = {path.name: path for path in papers}
    if notice := release.licence.rule.get("notice"):
        before = "".join(path.read_text(encoding="utf-8") for path in papers if path.name == "NOTICE")
        files["NOTICE"] = f"{before}\n{notice}\nChanged from {release.base} by training.\n".encode()
    return files


def write_card(release: Release, run: FinishedRun, *, files: Files) -> str:
    """Write the model card of a release: metadata, then a page in English with a few lines in Italian.

    Args:
        release: what is published.
        run: the run.
        files: all else that is uploaded.
    """
    from adatta.export.card import build_metadata, hide_folders, read_parity

    report, recipe = hide_folders(run.report), hide_folders(run.recipe)
    view, text = build_view(report, answers=(), curves={}), StringIO()
    YAML().dump(recipe, text)
    view |= {
        "release": release,
        "version": __version__,
        "gguf": [name for name in release.formats if name.startswith("gguf-")],
        "sizes": sizes_of(files),
        "reasons": hide_folders(run.reasons),
        "limits": [*load_template("limits.jinja").render(view).splitlines(), *view["warnings"]],
        "parity": {name: told for one in run.exports for name, told in read_parity(one.folder).items()},
        "settings": recipe,
        "recipe": text.getvalue(),
    }
    metadata = build_metadata(release, view["comparison"], language=report["language"])
    return f"---\n{metadata.to_yaml()}\n---\n\n{load_template('card.md.jinja').render(view)}"


def sizes_of(files: Files) -> dict[str, int]:
    """Return each file's size in bytes."""
    return {path: len(it) if isinstance(it, bytes) else it.stat().st_size for path, it in files.items()}
