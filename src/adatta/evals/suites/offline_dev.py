"""The other half of the own sets, by which recipes may be chosen; never for what is reported."""

from __future__ import annotations

from dataclasses import replace

from adatta.evals.suites import offline

SUITE = replace(offline.SUITE, name="offline-dev", part="dev")
