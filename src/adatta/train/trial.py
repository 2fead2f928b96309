"""Try the largest forest of a stage before its first step, so that too little memory shows at once."""

from __future__ import annotations

import torch

from adatta.core.errors import TrainError
from adatta.model.adapter import Trainable
from adatta.model.forest import Forest
from adatta.model.score import EngineName, score

_TRIED_SHARE = 0.5  # of the free memory that a stage may be expected to need untried, on a CPU


def needs_trial(predicted_bytes: float, free_bytes: float) -> bool:
    """Say whether memory may be short: on a GPU always, on a CPU where a stage may take half of what is free.

    Args:
        predicted_bytes: that the stage takes beside the loaded weights.
        free_bytes: with these loaded.
    """
    return torch.cuda.is_available() or predicted_bytes > _TRIED_SHARE * free_bytes


def try_forest(trainable: Trainable, forest: Forest, *, engine: EngineName) -> None:
    """Compute a forest forward and backward and throw its gradients away; random numbers stay as they were.

    Args:
        trainable: ready to train.
        forest: the largest one.
        engine: the one that will train.

    Raises:
        TrainError: if memory is too small for it.
    """
    try:
        with torch.random.fork_rng():
            with trainable.computing():
                logp_S = score(trainable.model, forest, engine=engine)
            torch.autograd.backward(logp_S.sum())
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise TrainError(
            f"memory is too small for the largest forest, {forest.num_tokens} tokens ({error}); lower "
            "batch.forest_tokens, or set batch.checkpointing: always"
        ) from error
    finally:
        for parameter in trainable.parameters().values():
            parameter.grad = None
