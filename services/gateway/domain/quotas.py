"""How much an organisation may have at once, and what it is told when it would be more."""

from libs.errors import OverQuota


def check_jobs(unfinished: int, most: int) -> None:
    """Return if so many unfinished jobs are allowed, the new one counted."""
    if unfinished > most:
        raise OverQuota(
            f"The organisation has {most:,} unfinished jobs, as many as it may have at once.",
            fix="Wait for one to end, or cancel one. Whoever runs Woodshed sets WOODSHED_GATEWAY_JOBS_AT_ONCE.",
        )


def check_storage(bytes_kept: int, most: int) -> None:
    """Return if files of so many bytes are allowed, the new one counted."""
    if bytes_kept > most:
        raise OverQuota(
            f"The organisation's files would be {bytes_kept:,} bytes, and may be {most:,}.",
            field="file",
            fix="Delete files. Whoever runs Woodshed sets WOODSHED_GATEWAY_STORAGE_BYTES.",
        )
