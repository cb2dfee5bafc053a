"""Every knob of the evaluator: its unit, its default, and why."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.settings import ServiceSettings


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """What the evaluator is told from outside."""

    service: ClassVar[str] = "evaluator"

    precision: Annotated[
        str,
        Meta(
            description="Number format both models are measured in: auto (bfloat16 where the hardware multiplies it, "
            "else float32), float32 or bfloat16.",
            pattern="^(auto|float32|bfloat16)$",
        ),
    ] = "auto"
    engine: Annotated[
        str,
        Meta(
            description="What speaks in chats: auto (llama.cpp where it knows the architecture, answers as trained and "
            "no graphics card is there; else transformers), llama.cpp or transformers.",
            pattern="^(auto|llama.cpp|transformers)$",
        ),
    ] = "auto"
    vllm_url: Annotated[
        str,
        Meta(
            description="A vLLM server that speaks in chats, for example http://gpu:8000; it serves the base under the "
            "name it has here, and loads adapters while it runs. Empty: none.",
            pattern="^(https?://.+)?$",
        ),
    ] = ""
    vllm_key: Annotated[str, Meta(description="The key that server asks for. Empty: none.")] = ""
    vllm_adapters: Annotated[
        str,
        Meta(
            description="Where that server sees the folder evaluator/adapters of WOODSHED_DATA_DIR. Empty: in the same "
            "place."
        ),
    ] = ""
    threads: Annotated[int, Meta(description="CPU threads a measurement uses; 0: all cores granted.", ge=0)] = 0
    examples: Annotated[
        int, Meta(description="Most held-out conversations measured; more are drawn by the seed, to bound time.", ge=1)
    ] = 200
    max_length: Annotated[int, Meta(description="Tokens read of each held-out conversation.", ge=16)] = 2048
    replies: Annotated[int, Meta(description="Before/after pairs in a report.", ge=0, le=100)] = 10
    reply_tokens: Annotated[int, Meta(description="Longest reply in a report, in tokens.", ge=1, le=1024)] = 96
    seed: Annotated[int, Meta(description="Seed of resampling and of drawing examples.", ge=0)] = 42
    lease: Annotated[
        float, Meta(description="Seconds after which another evaluator takes over a silent one's work.", gt=0)
    ] = 15.0
    attempts: Annotated[
        int, Meta(description="How often an evaluation whose process died is tried before it fails.", ge=1)
    ] = 3
    time_limit: Annotated[float, Meta(description="Seconds one measurement may take.", gt=0)] = 3600.0
    ask_idle: Annotated[
        float, Meta(description="Seconds the process that answers questions to models stays loaded unused.", ge=0)
    ] = 300.0
    kept_models: Annotated[
        int, Meta(description="Models that stay loaded for chats: bases and adapters, the last asked for.", ge=1)
    ] = 3
    prompt_memory: Annotated[
        int, Meta(description="MiB for what was read of prompts, so that a session's next turn is not read anew.", ge=0)
    ] = 512
    conversations: Annotated[
        int, Meta(description="Chats answered at once, a token each in turn; one more is told to come back.", ge=1)
    ] = 8
    reply_limit: Annotated[
        int, Meta(description="Longest chat reply in tokens where the request names no limit.", ge=1)
    ] = 1024
    rate: Annotated[
        float, Meta(description="Money per device hour, for the cost in reports; 0: reports name no cost.", ge=0)
    ] = 0.0
    currency: Annotated[str, Meta(description="Currency of the rate, as reports print it.")] = "USD"
