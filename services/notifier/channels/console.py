"""The channel that is always there: a line in the service's own log."""

import structlog

from services.notifier.domain.notice import Notice

log = structlog.get_logger()


class Console:
    """Writes notices to the log, where ``make up`` shows them."""

    name = "console"
    personal = False

    async def send(self, notice: Notice, notice_id: str, address: str = "") -> None:
        """Log the notice; its full text is kept in its delivery record as with every channel."""
        log.info(
            "notice",
            notice=notice_id,
            job=notice.job_id,
            title=notice.title,
            lead=notice.lead,
            figures=dict(notice.figures),
            link=notice.link,
        )
