"""Checkpoints of a stage: written atomically, safetensors and JSON only, never for another job."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adatta.core.artefact import folder_aside
from adatta.core.errors import CheckpointError
from adatta.model.adapter import write_tensors

_WEIGHTS, _OPTIMIZER, _BEST = (f"{name}.safetensors" for name in ("weights", "optimizer", "best"))
_STATE = "state.json"
_RANDOM_CPU, _RANDOM_GPU = "random.cpu", "random.gpu"


@dataclass(slots=True, kw_only=True)
class Progress:
    """What a stage has done so far; the figures of its record grow here.

    `margin_mean` and `margin_spread` are the running figures of dynamic preferences, None before a step.
    """

    step: int = 0
    tokens: int = 0
    scored_tokens: int = 0
    time_s: float = 0.0
    first_loss: float | None = None
    last_loss: float | None = None
    holdout: list[dict[str, float]] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float | None = None
    filtered_pairs: int = 0
    warnings: list[str] = field(default_factory=list)
    margin_mean: float | None = None
    margin_spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The checkpoints of a stage in their folder; only the last one stays.

    `job` is what they belong to; `optimizer` works on exactly the `parameters`, in their order.
    """

    folder: Path
    job: str
    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer

    def save(self, progress: Progress, best: Mapping[str, Tensor] | None) -> None:
        """Write a checkpoint beside the last one, then remove the last one.

        Args:
            progress: what was done.
            best: the weights with the lowest held-out loss, where they are kept.
        """
        for left_over in self.folder.glob("*.tmp"):  # of a process that was killed
            shutil.rmtree(left_over)
        final = self.folder / f"step-{progress.step:08d}"
        with folder_aside(final) as aside:
            write_tensors(aside / _WEIGHTS, dict(self.parameters))
            write_tensors(aside / _OPTIMIZER, {**self._moments(), **_random_state()})
            if best is not None:
                write_tensors(aside / _BEST, dict(best))
            state = json.dumps({"job": self.job, "progress": asdict(progress)}, indent=2)
            (aside / _STATE).write_text(state + "\n", encoding="utf-8")
        for other in self.folder.iterdir():
            if other != final:
                shutil.rmtree(other)

    def load(self) -> tuple[Progress, dict[str, Tensor] | None] | None:
        """Put the last checkpoint into parameters, optimizer and random state.

        Returns:
            What was done and the best weights, or None where there is no checkpoint.

        Raises:
            CheckpointError: if it belongs to another job or can't be read.
        """
        path = max((path for path in self.folder.glob("step-*") if path.suffix != ".tmp"), default=None)
        if path is None:
            return None
        try:
            state = json.loads((path / _STATE).read_text(encoding="utf-8"))
            if state["job"] != self.job:
                raise CheckpointError(
                    f"{path} belongs to another job ({state['job']}, this one is {self.job}); "
                    "remove the folder to start again"
                )
            weights = load_file(path / _WEIGHTS)
            moments = load_file(path / _OPTIMIZER)
            best = load_file(path / _BEST) if (path / _BEST).exists() else None
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(weights[name])
            self._restore_moments(moments)
            _restore_random_state(moments)
            return Progress(**state["progress"]), best
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} can't be read ({error}); remove it to start again") from error

    def _moments(self) -> dict[str, Tensor]:
        # bitsandbytes counts its steps in a plain number, and shares its code books between parameters.
        return {
            f"{key}.{name}": value.clone() if key.startswith("qmap") else torch.as_tensor(value)
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state[parameter].items()
        }

    def _restore_moments(self, moments: Mapping[str, Tensor]) -> None:
        numbers = {name: number for number, name in enumerate(self.parameters)}
        state: dict[int, dict[str, Any]] = {}
        for path, value in moments.items():
            key, _, name = path.partition(".")
            if name in numbers:
                plain = value if value.ndim or value.is_floating_point() else int(value)
                state.setdefault(numbers[name], {})[key] = plain
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_state() -> dict[str, Tensor]:
    states = {_RANDOM_CPU: torch.get_rng_state()}
    if torch.cuda.is_available():
        states[_RANDOM_GPU] = torch.cuda.get_rng_state()
    return states


def _restore_random_state(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states[_RANDOM_CPU])
    if _RANDOM_GPU in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[_RANDOM_GPU])
