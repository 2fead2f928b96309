"""Licences of a release: that of the base, which is kept and checked, and those of the data (no torch)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from huggingface_hub import ModelCard, snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from adatta.core.errors import PublishError
from adatta.core.yaml_source import packaged_yaml
from adatta.model.files import PAPERS
from adatta.model.name import ModelName

_TABLE = packaged_yaml("adatta.export", "licences.yaml")
_NON_COMMERCIAL = re.compile(r"(^|-)nc(-|$)|non-?commercial|research|amlr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """A licence as a model card names it.

    `identifier` is one of the Hub's, `name` and `link` say which one `other` is, `papers` are the base's own
    files: text of the licence, notices, policy of use.
    """

    identifier: str
    name: str | None = None
    link: str | None = None
    papers: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """The name by which people know it."""
        return self.name or self.identifier

    @property
    def rule(self) -> Mapping[str, str]:
        """What it asks of who passes the model on: `begins`, `shows`, `notice`, `link`; often nothing."""
        rule: Mapping[str, str] = _TABLE["rules"].get(self.identifier, {})
        return rule


def is_non_commercial(text: str) -> bool:
    """Tell whether a licence forbids commercial use, by its name.

    Example:
        >>> is_non_commercial("CC BY-NC-SA 4.0"), is_non_commercial("ncsa")
        (True, False)
    """
    return bool(_NON_COMMERCIAL.search(re.sub(r"[ _]+", "-", text.lower())))


def find_licence(base: ModelName, given: str | None) -> Licence:
    """Find the licence of a base model in its own files or on the Hub, and compare what the user says.

    Args:
        base: the model that the chain starts from.
        given: one of the Hub's identifiers, as recipes name it; None where they don't.

    Raises:
        PublishError: nobody knows the licence, or what is given is none, or isn't that of the base.
    """
    if given is not None and given not in _TABLE["known"]:
        raise PublishError(
            f"model.license {given}: the Hub has no such identifier; one is apache-2.0, in lower case"
        )
    folder = _find_papers(base)
    identifier, name, link = read_licence(base.path if base.kind in ("gguf", "package") else folder)
    if identifier in (None, "unknown") or (identifier == "other" and not (name and link)):
        identifier = given
    if identifier is None:
        raise PublishError(
            f"the licence of the base {base.name} stands neither in its files nor on the Hub; name it in "
            "the recipe (model.license) and run it again, which trains nothing; or write license, "
            "license_name and license_link into a README.md in its folder"
        )
    if given not in (None, identifier):
        raise PublishError(
            f"model.license {given}: {base.name} is under {name or identifier}, which is kept; leave it out"
        )
    papers = [path for pattern in PAPERS[1:] for path in sorted(folder.glob(pattern))] if folder else []
    return Licence(identifier=identifier, name=name, link=link, papers=tuple(papers))


def require_name(licence: Licence, repo: str) -> None:
    """Refuse a name that the base's licence doesn't allow.

    Args:
        licence: of the base.
        repo: OWNER/NAME.

    Raises:
        PublishError: if the name doesn't begin as it must.
    """
    begins, name = licence.rule.get("begins", ""), repo.partition("/")[2]
    plain, wanted = (re.sub(r"[-_. ]", "", text).lower() for text in (name, begins))
    if not plain.startswith(wanted):
        raise PublishError(
            f"the licence {licence.title} of the base ({licence.rule['link']}) wants names that begin with "
            f"{begins!r}, given: {name}; call it {begins.replace(' ', '-')}-{name}, for example"
        )


def _find_papers(base: ModelName) -> Path | None:
    """Return the folder of the base's card and licence; None where there is none or no way to it."""
    if base.repository is None:
        return base.path if base.path and base.path.is_dir() else None
    try:
        return Path(snapshot_download(base.repository, revision=base.revision, allow_patterns=list(PAPERS)))
    except (HfHubHTTPError, OSError):
        return None


def read_licence(place: Path | None) -> tuple[Any, Any, Any]:
    """Read identifier, name and link of a licence.

    Args:
        place: a GGUF file, or a folder with a card.
    """
    if place and place.is_file():
        field = GGUFReader(place).get_field("general.license")
        return field and field.contents(), None, None
    if not place or not (place / "README.md").is_file():
        return None, None, None
    card: Any = ModelCard((place / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=True).data
    first = [*card.license, None][0] if isinstance(card.license, list) else card.license
    return first, card.license_name, card.license_link
