"""`adatta publish`: a finished run to the Hugging Face Hub, with its model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def publish(
    run: Annotated[str, Argument(help="A finished run: its folder, or its name in runs/.")],
    repo: Annotated[str, Argument(help="Where to: OWNER/NAME.")],
    formats: Annotated[
        str, Option(help="Such as safetensors,gguf-q8_0; all that the run has if empty.")
    ] = "",
    public: Annotated[bool, Option("--public", help="For everybody to see; else private.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Show all that would go up; upload nothing.")] = False,
    card: Annotated[Path | None, Option(help="Write the model card to this file, too.")] = None,
    anyway: Annotated[bool, Option("--anyway", help="Though a guard says no; the card tells it.")] = False,
) -> None:
    """Upload a run's model to the Hugging Face Hub, with a card that says what was measured."""
    from adatta.core.artefact import write_atomic
    from adatta.core.errors import PublishError
    from adatta.export.hub import push
    from adatta.pipeline.publishing import prepare_publication

    if card is not None and (card.is_dir() or not card.parent.is_dir()):
        raise PublishError(f"--card {card}: give a file in a folder that is there")
    wanted = formats.split(",") if formats else []
    made = prepare_publication(run, repo, formats=wanted, anyway=anyway)
    print("\n".join(made.lines(is_public=public)), flush=True)
    if card is not None:
        write_atomic(card, made.card)
    elif dry_run:
        print(made.card)
    if dry_run:
        print("nothing was uploaded")
    else:
        print("published:", push(repo, made.files, message=made.message, is_public=public))


COMMAND = publish
