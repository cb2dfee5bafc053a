"""Where programs outside listen and ask: the subjects that belong to one credential, spelled once."""

MISSED = "missed.*.*"
"""Where outsiders ask for what they missed: their organisation, their credential."""


def missed_by(tenant: str, credential: str) -> str:
    """Return where an outsider asks for what it missed."""
    return f"missed.{tenant}.{credential}"


def inbox_of(credential: str) -> str:
    """Return what the names of an outsider's own inboxes begin with."""
    return f"_INBOX.{credential}"
