"""What people may ask of the API, and what of it makes sense.

The shapes are OpenAI's with our additions beside; a key nobody knows is refused, so that a
misspelt one is not silently without effect.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.datasets import SplitPlan
from contracts.jobs import Overrides
from contracts.recipes import OBJECTIVES, PRESETS, SHIPPED_MODEL, Preset, preset_named
from contracts.trackers import WANDB
from libs.errors import Rejected
from services.gateway.domain.purposes import LONGEST, SHORTEST, Purpose

Auto = Literal["auto"]
Epochs = Annotated[int, Meta(ge=1, le=50)]
BatchSize = Annotated[int, Meta(ge=1, le=256)]
Multiplier = Annotated[float, Meta(ge=0.01, le=100)]
Beta = Annotated[float, Meta(gt=0, le=2)]
Rank = Annotated[int, Meta(ge=1, le=256)]
LearningRate = Annotated[float, Meta(ge=1e-6, le=1e-2)]
TimeLimit = Annotated[float, Meta(ge=10, le=86_400)]
Budget = Annotated[float, Meta(ge=1e-6, le=1_000_000)]
MaxLength = Annotated[int, Meta(ge=16, le=131_072)]
ModelName = Annotated[str, Meta(examples=[SHIPPED_MODEL])]
FileId = Annotated[str, Meta(examples=["file-06gzsbkh3hz75mwzyzn81d7h"])]
DatasetId = Annotated[str, Meta(examples=["ds-2ff0c8m9v6q1x4y7t3w5k8na"])]
PRESET_NAMES = [name for preset in PRESETS for name in (preset.name, preset.staff_name)]
PresetName = Annotated[str, Meta(examples=["balanced"], extra_json_schema={"enum": PRESET_NAMES})]
MethodName = Annotated[str, Meta(extra_json_schema={"enum": list(OBJECTIVES)})]
Md5 = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9A-Fa-f]{32}$"})]
MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=64)], MetadataValue], Meta(max_length=16)]


class Wish(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON body; a key that is not in it is refused by name."""


class WishedHyperparameters(Wish, frozen=True, kw_only=True):
    """OpenAI's three, each a number or ``auto``."""

    n_epochs: Epochs | Auto | None = None
    batch_size: BatchSize | Auto | None = None
    learning_rate_multiplier: Multiplier | Auto | None = None


class WishedSupervised(Wish, frozen=True, kw_only=True):
    """Settings of supervised fine-tuning."""

    hyperparameters: WishedHyperparameters | None = None


class WishedPairing(WishedHyperparameters, frozen=True, kw_only=True):
    """The same three, and how strongly dpo holds the model to its base."""

    beta: Beta | Auto | None = None


class WishedDpo(Wish, frozen=True, kw_only=True):
    """Settings of direct preference optimisation."""

    hyperparameters: WishedPairing | None = None


class WishedMethod(Wish, frozen=True, kw_only=True):
    """How to teach. ``reinforcement`` is a known name that this version cannot do."""

    type: MethodName
    supervised: WishedSupervised | None = None
    dpo: WishedDpo | None = None
    reinforcement: dict[str, Any] | None = None


class WishedWandb(Wish, frozen=True, kw_only=True):
    """Where a job's run stands in Weights & Biases. Without a ``name`` it is called by the job's id."""

    project: Annotated[str, Meta(min_length=1, max_length=128)]
    name: Annotated[str, Meta(max_length=128)] | None = None
    entity: Annotated[str, Meta(max_length=128)] | None = None
    tags: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=32)] | None = None


class WishedIntegration(Wish, frozen=True, kw_only=True):
    """A tracker that shall show the job's figures; ``wandb`` is the one there is."""

    type: str
    wandb: WishedWandb | None = None


Training = Literal["lora", "full"]
Quantization = Literal["none", "nf4"]


class JobWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/fine_tuning/jobs``.

    OpenAI's fields first; from ``preset`` on they are ours. ``time_limit`` is in seconds of training, ``max_length`` in
    tokens of a conversation, of which the rest is cut off. ``training`` is "lora" unless every weight is to be trained.
    ``quantization`` "nf4" keeps the base in four bits while a LoRA is trained on it: a quarter of its memory.
    ``budget`` is the most the job may cost, in the installation's currency: training ends before it is spent.
    """

    model: ModelName
    training_file: FileId
    validation_file: FileId | None = None
    hyperparameters: WishedHyperparameters | None = None
    method: WishedMethod | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    integrations: list[WishedIntegration] | None = None
    preset: PresetName = "balanced"
    priority: Literal["high", "medium", "low"] = "medium"
    dataset: DatasetId | None = None
    rank: Rank | None = None
    learning_rate: LearningRate | None = None
    time_limit: TimeLimit | None = None
    budget: Budget | None = None
    max_length: MaxLength | None = None
    training: Training | None = None
    quantization: Quantization | None = None


class ExpiryWish(Wish, frozen=True, kw_only=True):
    """When a file goes by itself: ``seconds`` after it was made."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=SHORTEST, le=LONGEST)]


class UploadWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/uploads``: a file that will come in parts. ``mime_type`` is taken and not looked at."""

    filename: Annotated[str, Meta(min_length=1, max_length=1000)]
    purpose: Purpose
    bytes: Annotated[int, Meta(ge=1)]
    mime_type: Annotated[str, Meta(max_length=255)]
    expires_after: ExpiryWish | None = None


class CompletionWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST …/complete``: the parts in the order of the file, and its MD5 sum to check them with."""

    part_ids: Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(min_length=1, max_length=10_000)]
    md5: Md5 | None = None


class PermissionWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST …/permissions``: the projects that may use a checkpoint."""

    project_ids: Annotated[list[Annotated[str, Meta(min_length=1, max_length=200)]], Meta(min_length=1, max_length=100)]


class RetryWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST …/retry``; an empty one applies the fix as ``GET …/retry`` shows it.

    Settings given here win over the fix; ``as_it_was`` leaves the fix out. ``training_file`` is a mended upload.
    ``force`` submits another retry although one is there already.
    """

    training_file: FileId | None = None
    hyperparameters: WishedHyperparameters | None = None
    rank: Rank | None = None
    learning_rate: LearningRate | None = None
    time_limit: TimeLimit | None = None
    budget: Budget | None = None
    max_length: MaxLength | None = None
    as_it_was: bool = False
    force: bool = False


class EstimateWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/estimates``: a job that is not submitted yet."""

    dataset: DatasetId
    model: ModelName | None = None
    preset: PresetName = "balanced"
    hyperparameters: WishedHyperparameters | None = None
    rank: Rank | None = None
    learning_rate: LearningRate | None = None
    time_limit: TimeLimit | None = None
    budget: Budget | None = None
    max_length: MaxLength | None = None
    training: Training | None = None
    quantization: Quantization | None = None
    method: WishedMethod | None = None


class WishedSplit(Wish, frozen=True, kw_only=True):
    """How to divide the examples; ``validation`` and ``test`` are shares of all.

    Of examples that are nearly the same only the first one is used, unless ``near_duplicates`` is "keep": then they
    stand in one split together.
    """

    by: Literal["conversation", "speaker"] = "conversation"
    near_duplicates: Literal["drop", "keep"] = "drop"
    validation: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    test: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 42


class DatasetWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/datasets``. ``max_length`` is the longest example in tokens."""

    file: FileId
    base_model: ModelName | None = None
    format: str = "auto"
    split: WishedSplit | None = None
    validation_file: FileId | None = None
    max_length: MaxLength = 2048


class AskWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST …/ask``: one prompt for the base model and the trained one."""

    prompt: Annotated[
        str, Meta(min_length=1, max_length=8000, examples=["I am afraid to look at my bank account. Where do I begin?"])
    ]
    max_tokens: Annotated[int, Meta(ge=1, le=512)] | UnsetType = UNSET


def overrides_of(wish: JobWish | EstimateWish | RetryWish) -> Overrides:
    """Return what a person changed of the preset."""
    asked = asked_hyperparameters(wish)
    method = None if isinstance(wish, RetryWish) else wish.method
    return Overrides(
        epochs=_number(asked.n_epochs),
        batch_size=_number(asked.batch_size),
        learning_rate_multiplier=_number(asked.learning_rate_multiplier),
        learning_rate=wish.learning_rate,
        rank=wish.rank,
        time_limit=wish.time_limit,
        method=None if isinstance(wish, RetryWish) else wish.training,
        max_length=wish.max_length,
        budget=wish.budget,
        objective=method.type if method else None,
        beta=_number(asked.beta) if isinstance(asked, WishedPairing) else None,
        quantization=None if isinstance(wish, RetryWish) else wish.quantization,
    )


def asked_hyperparameters(wish: JobWish | EstimateWish | RetryWish) -> WishedHyperparameters:
    """Return OpenAI's three from where they are: ``method`` first, else the older field."""
    method = None if isinstance(wish, RetryWish) else wish.method
    settings = method and (method.dpo if method.type == DPO else method.supervised)
    if settings and settings.hyperparameters is not None:
        return settings.hyperparameters
    return wish.hyperparameters or WishedHyperparameters()


NOT_OFFERED = {
    "device_class": "Devices are chosen by what fits the job, not by class: leave it out.",
}
"""Fields that people try and this version does not honour, and what to do instead."""

SUPERVISED, DPO = OBJECTIVES


def check_job(wish: JobWish) -> None:
    """Refuse what this version cannot do, and two wishes that contradict each other."""
    check_method(wish)
    check_overrides(overrides_of(wish))


def wandb_of(wish: JobWish, *, key_is_set: bool) -> WishedWandb | None:
    """Return where Weights & Biases shall show the job; refuse other trackers, and this one where it has no key."""
    wished = wish.integrations or []
    if other := next((each.type for each in wished if each.type != WANDB), None):
        raise _unsupported(
            f"No tracker {other[:100]!r} can be connected to a job, only wandb (Weights & Biases). Leave it out; the "
            "figures are at …/metrics, and in the job's result file when it ends."
        )
    if len(wished) > 1 or any(each.wandb is None for each in wished):
        raise _unsupported("Give one integration, with its settings: {type: wandb, wandb: {project: …}}.")
    if wished and not key_is_set:
        raise _unsupported(
            "There is no key for Weights & Biases, so nothing can be shown there. Give your organisation's (woodshed "
            "wandb set, or PUT /v1/wandb_key), have the operator set WOODSHED_WANDB_API_KEY, or leave integrations out."
        )
    return wished[0].wandb if wished else None


def _unsupported(message: str) -> Rejected:
    return Rejected(message, code="unsupported_integration", field="integrations")


def check_method(wish: JobWish | EstimateWish) -> None:
    """Refuse a method the trainer does not know, and settings that do not belong to the one that is named."""
    method = wish.method
    if method is None:
        return
    if method.type not in OBJECTIVES:
        raise Rejected(
            f"The method {method.type[:100]!r} is not available: models learn here from examples of good replies, or "
            "from pairs of a preferred reply and another.",
            code="unsupported_method",
            field="method.type",
            fix="Send method.type=supervised (or leave method out) or method.type=dpo.",
        )
    others = (name for name in (*OBJECTIVES, "reinforcement") if name != method.type)
    other = next((name for name in others if getattr(method, name) is not None), None)
    if other is not None:
        raise Rejected(
            f"method.{other} is set though method.type is {method.type}. Leave it out.",
            code="contradiction",
            field=f"method.{other}",
        )
    if method.type == DPO and wish.training == "full":
        raise Rejected(
            "Preference pairs train a LoRA only: the base model beside it says what the tuned one is compared with. "
            "Leave training out.",
            code="unsupported_method",
            field="training",
        )


def check_overrides(overrides: Overrides) -> None:
    """Refuse two settings of the same thing, and two that exclude each other."""
    if overrides.learning_rate is not None and overrides.learning_rate_multiplier is not None:
        raise Rejected(
            "learning_rate and learning_rate_multiplier both set the same thing. Send one of them.",
            code="contradiction",
            field="learning_rate",
        )
    if overrides.quantization == "nf4" and overrides.method == "full":
        raise Rejected(
            "Weights in four bits cannot be trained themselves, only a LoRA beside them. Leave quantization or "
            "training out.",
            code="contradiction",
            field="quantization",
        )


def chosen_preset(name: str) -> Preset:
    """Find a preset by either name; ``Rejected`` lists them with what they are for."""
    preset = preset_named(name)
    if preset is None:
        names = ", ".join(f"{each.name} (or {each.staff_name})" for each in PRESETS)
        raise Rejected(f"There is no preset {name!r}. Choose one of: {names}.", code="unknown_preset", field="preset")
    return preset


def chosen_model(name: str, offered: tuple[str, ...], field: str = "model") -> str:
    """Return the base model if this installation trains it; ``Rejected`` lists those it does."""
    if name not in offered:
        raise Rejected(
            f"{name!r} is no base model that can be trained here. Choose one of: {', '.join(offered)}.",
            code="unknown_model",
            field=field,
        )
    return name


def split_of(wish: WishedSplit | None, *, has_validation_file: bool) -> SplitPlan:
    """Return the split plan; a validation file of one's own leaves nothing to cut off for validation."""
    asked = wish or WishedSplit()
    validation = 0.0 if has_validation_file else asked.validation
    if validation + asked.test >= 1:
        raise Rejected(
            "The shares of validation and test leave nothing to train on. Make them smaller.",
            code="bad_split",
            field="split",
        )
    return SplitPlan(
        by=asked.by, validation=validation, test=asked.test, seed=asked.seed, near_duplicates=asked.near_duplicates
    )


def _number(value: Any) -> Any:
    return None if value == "auto" else value
