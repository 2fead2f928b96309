"""`adatta doctor`: what this machine can do, as a table for an issue."""

from __future__ import annotations


def doctor() -> None:
    """Tell what this machine can do, as a Markdown table; paste it into an issue. No token is shown."""
    from adatta.pipeline.doctor import examine

    print("| what | found |\n|---|---|")
    for what, found in examine():
        print(f"| {what} | {found.replace('|', '/')} |", flush=True)


COMMAND = doctor
