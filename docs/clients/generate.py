"""Writes the clients for TypeScript and PHP; ``python -m docs.generate`` does it with the rest of the pages."""

from pathlib import Path

from docs.clients import description, php, typescript
from services.gateway.openapi import document

HERE = Path(__file__).resolve().parent


def files() -> dict[Path, str]:
    """Return every client with its text."""
    described = description.read(document())
    return {HERE / "woodshed.ts": typescript.written(described), HERE / "Woodshed.php": php.written(described)}
