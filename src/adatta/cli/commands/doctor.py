"""`adatta doctor`: what this machine can do, as a table for an issue."""

from __future__ import annotations

from adatta.pipeline.doctor import examine


def doctor() -> None:
    """Tell what this machine can do, as a Markdown table; paste it into an issue. No token is shown."""
    print("| what | found |\n|---|---|")
    for what, found in examine():
        print(f"| {what} | {found.replace('|', '/')} |", flush=True)


COMMAND = doctor
