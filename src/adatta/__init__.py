"""adatta: makes an open instruct model better at Italian, with proof."""

from __future__ import annotations

import logging
import typing

if typing.TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adatta.pipeline.loaded import LoadedModel

__all__ = ["__version__", "compare", "load", "run"]
__version__ = "0.1.0"

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns of a kernel that nothing here uses


def run(recipe: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Do a recipe, or go on where it stopped, as `adatta run` does.

    Args:
        recipe: the YAML file.
        overrides: `path=value` settings, such as `seed=43`.

    Returns:
        The run's folder, which is also the name of its model for `load`.

    Raises:
        AdattaError: the first thing that can't be done; what is complete stays and is reused next time.
    """
    import pathlib

    from adatta.pipeline.run import run_recipe

    return run_recipe(pathlib.Path(recipe), overrides)


def load(name: str, *, engine: str | None = None, language: str = "it") -> LoadedModel:
    """Open a model by any name, to generate, complete, score and classify with.

    Args:
        name: Hub id, folder, adapter, run, GGUF file or `package:NAME/FILE`.
        engine: what generates: `llamacpp`, `transformers` or `vllm`; None decides by the model's files.
        language: tag of the profile in whose words it is asked to classify.

    Raises:
        ModelError: no such file or package.
        RecipeError: the language has no profile.

    Example:
        >>> import adatta
        >>> with adatta.load(name) as model:
        ...     answer = model.generate("Chi sei?", max_new_tokens=4)
        ...     (found,) = model.complete("Roma è", max_new_tokens=4)
        ...     likelier = model.score([("Il gatto", " dorme."), ("Il gatto", " dormono.")])
        ...     (mood,) = model.classify("Che bel film!", ["positivo", "negativo"])
        >>> found.num_tokens, found.stop_reason, len(likelier)
        (4, 'length', 2)
        >>> mood.labels[0] == max(mood.probabilities, key=mood.probabilities.get)
        True
    """
    from adatta.pipeline.loaded import LoadedModel

    return LoadedModel(name, engine=engine, language=language)


def compare(first: str, second: str) -> list[dict[str, typing.Any]]:
    """Compare the last models of two runs on what both were asked, as `adatta compare` does.

    Args:
        first: a run's name or folder, in the base's place.
        second: the other run's.

    Returns:
        The metrics, as in report.json, each with intervals and the paired difference.

    Raises:
        RecipeError: a run is unknown or has no evaluation, both are the same, or they were asked other items,
            in another way, or by another version of a suite.
    """
    from adatta.pipeline.measuring import compare_runs

    return compare_runs(first, second)
