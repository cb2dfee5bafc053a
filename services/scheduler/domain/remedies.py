"""What to do about a job that was refused before it trained."""

from contracts.datasets import DatasetRefused
from contracts.jobs import Overrides, Remedy
from libs.errors import Rejected

MEND = "Mend the file, upload it again and submit a new job."


def other_settings(refusal: Rejected) -> Remedy:
    """The recipe can never be trained: choose other settings."""
    return Remedy(kind="change_settings", title="Choose other settings", sentence=refusal.fix or refusal.message)


def lora_instead(refusal: Rejected) -> Remedy:
    """All weights fit no device: train small matrices beside them."""
    sentence = refusal.fix or refusal.message
    return Remedy(
        kind="change_settings", title="Train a LoRA instead", sentence=sentence, overrides=Overrides(method="lora")
    )


def unquantised(refusal: Rejected) -> Remedy:
    """No device keeps the base in few bits: keep it as it is."""
    return Remedy(
        kind="change_settings",
        title="Keep the base as it is",
        sentence=refusal.fix or refusal.message,
        overrides=Overrides(quantization="none"),
    )


def instead(refusal: Rejected) -> Remedy:
    """The plan can be carried out nowhere: train fewer weights, choose the other method, or spend more."""
    if refusal.code == "wrong_method":
        return other_method(refusal)
    if refusal.code == "unsupported_quantization":
        return unquantised(refusal)
    return lora_instead(refusal) if refusal.code == "too_large" else other_settings(refusal)


def other_method(refusal: Rejected) -> Remedy:
    """The method does not learn from such data: submit it with the one that does, or retry with other data."""
    return Remedy(kind="change_data", title="Choose the other method", sentence=refusal.fix or refusal.message)


def other_data(news: DatasetRefused) -> Remedy:
    """The file is no dataset: mend it where the first problem says how."""
    fix = news.problems[0].fix if news.problems else MEND
    return Remedy(kind="change_data", title="Mend the file and upload it again", sentence=fix)
