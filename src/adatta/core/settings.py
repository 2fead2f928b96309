"""The typed settings of a recipe: every name, its default and its meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Strict(strict=False)]  # a YAML list
Share = Annotated[float, Field(ge=0, lt=1)]
StageKind = Literal["sft", "dpo", "adapt", "evaluate", "export", "report"]

# A kind's number changes when its outputs change for the same inputs; it is part of the fingerprint. The
# golden test of a kind fails when its outputs changed and the number did not.
VERSIONS: Mapping[str, int] = {"sft": 2, "dpo": 2, "adapt": 2, "evaluate": 5, "export": 2, "report": 6}


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown names, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class ModelSettings(Settings):
    """The model that the chain starts from."""

    name: str = Field(min_length=1)
    """Hub id, folder, PEFT adapter folder, run, GGUF file, or package:NAME/FILE."""
    revision: str | None = None
    """Branch, tag or commit of a Hub id; the newest when empty."""


class DataSettings(Settings):
    """One source of training rows."""

    path: str = Field(min_length=1)
    """A file, a folder, a glob such as data/*.jsonl.gz, or hub:OWNER/NAME for a data set of the Hub."""
    config: str | None = None
    """Configuration of a Hub data set."""
    split: str = "train"
    """Split of a Hub data set."""
    revision: str | None = None
    """Branch, tag or commit of a Hub data set; the newest when empty. The record keeps the commit."""
    fields: Mapping[str, str] = {}
    """Our fields, role and content too, and what they are called here: {prompt: domanda, chosen: esiti.0}."""
    weight: float = Field(default=1.0, gt=0)
    """How often each row is used in a pass: 0.5 draws half of the rows, 2 uses each twice."""
    rows: int | None = Field(default=None, ge=1)
    """Use just this many rows, drawn with the recipe's seed, instead of a weight."""


class AdapterSettings(Settings):
    """Low-rank adapter. Source: arXiv:2405.07101 (rank and alpha)."""

    rank: int = Field(default=16, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=8, gt=0)
    """Scale: the update is multiplied by alpha / rank (alpha / sqrt(rank) with rslora)."""
    dropout: Share = 0.0
    """Share of the adapter's inputs set to 0 in training."""
    targets: Literal["all-linear"] | Many[str] = "all-linear"
    """Which linear layers are adapted: all-linear (all but the output head) or a list of names."""
    rslora: bool = False
    """Rank-stabilised scale."""
    dora: bool = False
    """Learn the length of each output's weights apart from their direction. Source: arXiv:2402.09353."""
    also: Many[Literal["embeddings", "norms"]] = ()
    """What of the base is trained beside the adapter, in fp32: embeddings (and output matrix), norms."""


class OptimizerSettings(Settings):
    """The optimizer."""

    name: Literal["adamw", "paged_adamw_8bit"] = "adamw"
    """AdamW, or AdamW with 8-bit moments that move out of a full GPU's memory (bitsandbytes; needs CUDA)."""
    lr: float = Field(default=2e-4, gt=0)
    """Highest learning rate; by default 2e-4 for sft, 5e-5 for dpo, 2e-5 for adapt."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay, decoupled."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient; a longer one is scaled down to it."""


class ScheduleSettings(Settings):
    """How the learning rate moves."""

    name: Literal["linear", "cosine", "constant"] = "linear"
    """The curve after the warm-up."""
    warmup_share: Share = 0.05
    """Share of the steps in which the rate rises from 0; by default 0.1 for dpo, else 0.05."""


class BatchSettings(Settings):
    """What one optimizer step sees."""

    rows: int = Field(default=8, ge=1)
    """Rows (pairs for dpo) in an optimizer step; accumulation follows from it."""
    forest_tokens: int = Field(default=2048, ge=1)
    """Tokens computed at once: memory against speed, never the result."""
    checkpointing: Literal["auto", "always", "never"] = "auto"
    """Whether layers are computed again for their gradient, a third more time for less memory; auto: where
    the estimate says that memory is too small otherwise."""


class BudgetSettings(Settings):
    """How long a stage trains: exactly one of the three."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    tokens: int | None = Field(default=None, ge=1)
    """Stop after the step in which this many tokens were seen."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the rows."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = self._given()
        if len(given) != 1:
            listed = ", ".join(given) or "none"
            raise ValueError(f"exactly one of tokens, steps, epochs is needed, given: {listed}")
        return self

    @model_serializer
    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in self if value is not None}


class HoldoutSettings(Settings):
    """Rows kept out of training to measure the loss: a share of the data, or a file."""

    share: Share = 0.05
    """Share of the rows, at most a fifth of them; 0 for none."""
    min_rows: int = Field(default=8, ge=0)
    """Smallest number of rows kept out."""
    path: str | None = None
    """A file or folder of rows, instead of a share."""

    @model_validator(mode="after")
    def _share_or_path(self) -> Self:
        if self.path is not None and self.model_fields_set & {"share", "min_rows"}:
            raise ValueError("either path or share and min_rows, not both")
        return self

    @model_serializer
    def _given(self) -> dict[str, Any]:
        if self.path is not None:
            return {"path": self.path}
        return {"share": self.share, "min_rows": self.min_rows}


class MergeSettings(Settings):
    """What the trained adapter becomes."""

    into: Literal["full", "dequantised", "none"] = "full"
    """Merged into the full-precision base, into the dequantised one, or left an adapter (last stage only)."""


class TrainSettings(Settings):
    """What all training stages have in common."""

    data: Many[DataSettings] = Field(min_length=1)
    """Sources of rows; at least one."""
    method: Literal["qlora", "lora", "full"] = "qlora"
    """4-bit base with adapter, base with adapter, or all weights."""
    adapter: AdapterSettings = AdapterSettings()
    """The adapter; not used with method full."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """The optimizer."""
    schedule: ScheduleSettings = ScheduleSettings()
    """The learning rate's curve."""
    batch: BatchSettings = BatchSettings()
    """What one optimizer step sees."""
    budget: BudgetSettings = BudgetSettings(epochs=1)
    """How long to train: exactly one of tokens, steps, epochs."""
    holdout: HoldoutSettings = HoldoutSettings()
    """Rows kept out to measure the loss."""
    keep: Literal["last", "best"] = "last"
    """Which weights the stage leaves: the last, or those with the lowest loss on 30 held-out rows or more."""
    merge: MergeSettings = MergeSettings()
    """What the trained adapter becomes."""

    @field_validator("adapter", "optimizer", "schedule", mode="before")
    @classmethod
    def _fill_from_this_kind(cls, value: Any, info: ValidationInfo) -> Any:
        """Complete a partly given block from this stage kind's defaults, not from the block's own."""
        if not isinstance(value, Mapping):
            return value
        return {**cls.model_fields[str(info.field_name)].default.model_dump(), **value}


class SftSettings(TrainSettings):
    """Fine-tune on conversations."""

    thoughts: Literal["drop", "keep"] = "drop"
    """What a reasoning model's thoughts in the rows become: left out, or learnt with the answer."""
    answers: Literal["all", "last"] = "all"
    """Which of a conversation's answers are learnt."""


class DynamicSettings(Settings):
    """Dynamic beta and filter of pairs. Source: arXiv:2407.08639 and its code (values too)."""

    strength: float = Field(default=0.6, ge=0)
    """How much beta moves for each nat that a step's mean margin is away from the running mean."""
    momentum: Share = 0.9
    """Share of the old value in the running mean and spread of margins."""
    keep_share: float = Field(default=0.8, gt=0, le=1)
    """Share of a step's pairs that is learnt; those with margins near the running mean are likelier."""
    initial_margin: float = 0.0
    """Where the running mean begins, in nats."""


class DpoSettings(TrainSettings):
    """Align with preferences. Source: arXiv:2305.18290; values: arXiv:2405.07101."""

    adapter: AdapterSettings = AdapterSettings(rank=64, alpha=16, rslora=True)
    """The adapter; not used with method full."""
    optimizer: OptimizerSettings = OptimizerSettings(lr=5e-5)
    """The optimizer."""
    schedule: ScheduleSettings = ScheduleSettings(warmup_share=0.1)
    """The learning rate's curve."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """Loss of a pair's margin: the logistic one of DPO, or the squared one of IPO (arXiv:2310.12036)."""
    beta: float = Field(default=0.1, gt=0)
    """How strongly the model is held to the stage's input model."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of pairs taken to be labelled the wrong way round; with loss sigmoid."""
    length_normalised: bool = False
    """Margins of log-probs a token, so that long answers don't count more."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the chosen answer's negative log-likelihood a token. Source: arXiv:2404.19733."""
    dynamic: DynamicSettings | None = None
    """Move beta with the margins of each step, and leave out some pairs; empty for neither."""
    share_prefix: bool = True
    """Compute the prompt once for both answers; must be false with dropout."""

    @model_validator(mode="after")
    def _smoothing_needs_sigmoid(self) -> Self:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(
                f"label_smoothing {self.label_smoothing} needs loss: sigmoid, given {self.loss}; "
                "set label_smoothing: 0.0"
            )
        return self


class AdaptSettings(TrainSettings):
    """Continue training on plain text."""

    adapter: AdapterSettings = AdapterSettings(rank=64, alpha=16)
    """The adapter; not used with method full."""
    optimizer: OptimizerSettings = OptimizerSettings(lr=2e-5)
    """The optimizer."""


class TextSettings(Settings):
    """Texts of your own to measure bits per byte on."""

    path: str = Field(min_length=1)
    """A file, a folder or a glob of texts, as for adapt."""
    fields: Mapping[str, str] = {}
    """Our field, text, and what it is called here: {text: testo}."""
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")
    """Tag of their language, such as en; the recipe's when empty."""


NAMES = {
    "texts": (r"[a-z][a-z0-9_]{0,59}", "a-z, 0-9 and _"),
    "others": (r"[A-Za-z][A-Za-z0-9._-]{0,59}", "letters, digits, '.', '_' and '-'"),
}


class EvaluateSettings(Settings):
    """Measure models of the chain on suites, and on texts of your own."""

    suites: Many[str] = Field(default=("offline",), min_length=1)
    """Names of suites; by default those of the language's profile."""
    data_dir: str | None = None
    """Folder with the original releases of public benchmarks; empty reads them from the Hub."""
    protocols: Many[Literal["raw", "chat"]] = Field(default=("raw",), min_length=1)
    """How public benchmarks are asked: as plain text, in the chat template, or both."""
    texts: Mapping[str, TextSettings] = {}
    """Texts of your own by the name that the report gives them: {native: {path: texts.jsonl}}."""
    models: Many[str] | None = None
    """`base` and names of training stages; empty means base and every training stage before this one."""
    others: Mapping[str, str] = {}
    """Other models to measure beside them, by the name that the report gives each: {peer: OWNER/NAME}."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Longest generated answer, in tokens."""

    @field_validator("texts", "others")
    @classmethod
    def _names_are_short(cls, given: Mapping[str, Any], field: ValidationInfo) -> Mapping[str, Any]:
        pattern, signs = NAMES[str(field.field_name)]
        wrong = [name for name in given if not re.fullmatch(pattern, name)]
        if wrong:
            raise ValueError(f"name {wrong[0]!r}: write up to 60 of {signs}, a letter first")
        return given


class ExportSettings(Settings):
    """Write the model for other programs."""

    formats: Many[str] = Field(default=("safetensors",), min_length=1)
    """Names of formats, such as safetensors, gguf-f16, gguf-q8_0."""


class MarginSettings(Settings):
    """How much worse a figure may be and still count as held: declared before anything is measured."""

    share: float = Field(default=0.02, ge=0, lt=1)
    """Of accuracies and other shares: 0.02 are two points."""
    bits_per_byte: float = Field(default=0.03, ge=0)
    """Of bits per byte, as a share of the base's."""
    guard: bool = False
    """End the run with exit code 3 where a primary figure of another language isn't shown to be held."""


class ReportSettings(Settings):
    """Compare base and adapted in one page."""

    margin: MarginSettings = MarginSettings()
    """What counts as not worse, and whether the run fails without it."""


StageSettings = SftSettings | DpoSettings | AdaptSettings | EvaluateSettings | ExportSettings | ReportSettings


class StageEntry(Settings):
    """An entry of the list of stages: exactly one kind with its settings."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    sft: SftSettings | None = None
    """Fine-tune on conversations."""
    dpo: DpoSettings | None = None
    """Align with preferences."""
    adapt: AdaptSettings | None = None
    """Continue training on plain text."""
    evaluate: EvaluateSettings | None = None
    """Measure models on suites."""
    export: ExportSettings | None = None
    """Write the model for other programs."""
    report: ReportSettings | None = None
    """Compare base and adapted in one page."""

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if len(value) != 1:
            given = ", ".join(map(str, value)) or "none"
            raise ValueError(f"an entry of stages holds exactly one stage kind, given: {given}")
        return {kind: {} if settings is None else settings for kind, settings in value.items()}

    @model_serializer
    def _given(self) -> dict[str, Any]:
        return {self.kind: self.settings.model_dump(mode="json")}

    @property
    def kind(self) -> StageKind:
        """Which kind of stage this is."""
        (kind,) = self.model_fields_set
        return kind  # type: ignore[return-value]

    @property
    def settings(self) -> StageSettings:
        """The settings of that kind."""
        settings: StageSettings = getattr(self, self.kind)
        return settings
