"""What schemathesis calls a fault and is none, each with its reason."""

from typing import Any

LEFT_OUT = "stream$"
"""Live streams never end."""

RULES: dict[str, str] = {
    "bad_link": "a report or an artifact without its job",
    "bad_password": "twelve times the same letter",
    "bad_recipient": "names of time zones, and somebody whom nothing reaches",
    "bad_split": "shares that leave nothing",
    "bad_url": "an address that leads inside, or is none",
    "bad_zone": "names of time zones",
    "context_length_exceeded": "tokens, of which no description counts any",
    "contradiction": "two settings of the same thing",
    "data_must_change": "why a job failed before",
    "empty_file": "a file of no bytes",
    "monthly_budget_spent": "what was spent before",
    "nul_character": "the one character that no text may hold; every description of a text would have to say so",
    "out_of_range": "the learning rate that a multiplier makes of a preset's",
    "too_large": "what this installation takes",
    "too_many_endpoints": "what is there already",
    "too_many_parts": "what came before",
    "too_many_recipients": "what is there already",
    "unknown_model": "what this installation trains",
    "unknown_part": "ids of what came before",
    "unsupported_integration": "trackers this installation knows",
    "upload_cancelled": "what was done before",
    "upload_completed": "what was done before",
    "upload_expired": "what was done before",
    "wrong_method": "what is in a dataset",
    "wrong_size": "what came before",
}
"""Codes of refusals that no description can say, and what they are about."""


def is_ours(failure: str, operation: str, case: Any, response: Any) -> bool:
    """Whether a refusal of a request that fits the description is a rule that no description can say."""
    if failure != "RejectedPositiveData":
        return False
    return _code_of(response) in RULES


def _code_of(response: Any) -> str:
    try:
        return str(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""
