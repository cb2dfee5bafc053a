"""Mail, by SMTP to the organisation's own mail server."""

from email.message import EmailMessage

import aiosmtplib

from libs.errors import Busy, Rejected
from services.notifier.domain.mail import letter
from services.notifier.domain.notice import Notice
from services.notifier.settings import Settings

TIMEOUT = 20.0
CHECK = "Check WOODSHED_SMTP_* and WOODSHED_MAIL_*, and what the mail server's log says."


class Email:
    """Mails notices to one recipient, or in one letter to all the addresses that the settings name."""

    name = "email"
    personal = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def send(self, notice: Notice, notice_id: str, address: str = "") -> None:
        """Hand the letter to the server; ``Busy`` on a 4xx reply or a lost connection, ``Rejected`` on a 5xx reply."""
        mail = letter(notice, notice_id, self._settings.mail_from, address or self._settings.mail_to)
        try:
            await self._hand_over(mail)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0]) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error) from error
        except OSError as error:
            raise Busy(f"The mail server could not be reached ({type(error).__name__}).", after=0) from error
        except aiosmtplib.SMTPException as error:
            raise Rejected(f"The mail server cannot do what the settings ask for: {error}. {CHECK}") from error

    async def _hand_over(self, mail: EmailMessage) -> None:
        await aiosmtplib.send(
            mail,
            hostname=self._settings.smtp_host,
            port=self._settings.smtp_port,
            username=self._settings.smtp_user or None,
            password=self._settings.smtp_password or None,
            use_tls=self._settings.smtp_security == "tls",
            start_tls=self._settings.smtp_security == "starttls",
            timeout=TIMEOUT,
        )


def _refusal(error: aiosmtplib.SMTPResponseException) -> Busy | Rejected:
    """Tell a passing refusal (4yz) from a final one (5yz), RFC 5321 section 4.2.1."""
    said = f"The mail server answered {error.code} {error.message[:200]}"
    return Busy(said, after=0) if error.code < 500 else Rejected(f"{said}. {CHECK}")
