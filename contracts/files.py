"""Uploads: told by the gateway when a file is safe in storage."""

from typing import ClassVar

from contracts.base import Count, Event, Sha256, Token


class FileUploaded(Event, frozen=True, kw_only=True, tag="file.uploaded.v1"):
    """A file is whole in storage and can be read back with this sha256.

    ``filename`` is empty: older facts told what a person called the file, and still say so.
    """

    subject: ClassVar[str] = "evt.{tenant}.file.{file_id}.uploaded"

    file_id: Token
    purpose: str
    filename: str = ""
    size: Count
    sha256: Sha256
    uri: str


class FileDeleted(Event, frozen=True, kw_only=True, tag="file.deleted.v1"):
    """A person deleted the file; its bytes are gone from storage."""

    subject: ClassVar[str] = "evt.{tenant}.file.{file_id}.deleted"

    file_id: Token
