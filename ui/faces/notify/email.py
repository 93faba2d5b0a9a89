"""E-mail by SMTP with TLS: text, and the picture of the series in it; one thread a group for mail programs."""

import asyncio
import hashlib
import mimetypes
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from pydantic import Field

from analytics.oncall.outbox import Pace
from ui.faces.notify import ChannelOptions, Parcel, Secret
from ui.faces.notify.post import Post, Undelivered

PACE = Pace(per_minute_count=30, digests=True)
TIMEOUT_S = 15.0


class Options(ChannelOptions):
    """``host``, ``port``: of the mail server; ``tls``: ``starttls`` (587), ``tls`` (465) or ``none`` (only where the way is
    safe by other means); ``user``, ``password``; ``sender``, ``to``: addresses; ``ca``: certificates to trust instead of the
    system's."""

    host: str
    port: int = Field(587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: Secret | None = None
    sender: str
    to: tuple[str, ...] = Field(min_length=1)
    ca: Path | None = None


class Email:
    """Sends one mail a page."""

    def __init__(self, options: Options, secrets: Mapping[str, str]) -> None:
        self._options, self._password = options, secrets.get("password", "")

    async def deliver(self, parcel: Parcel, post: Post) -> None:
        """See ``ui.faces.notify.Channel``."""
        mail = self._mail(parcel)
        try:
            await asyncio.to_thread(self._send, mail)
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
            why = f"{self._options.host} answered {error.smtp_code}: {said[:200]}"
            raise Undelivered(why, hopeless=error.smtp_code >= 500) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise Undelivered(f"{self._options.host} takes mail for none of {len(error.recipients)} receivers") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Undelivered(f"{self._options.host} does not take mail ({error})") from None

    def _send(self, mail: EmailMessage) -> None:
        options = self._options
        context = ssl.create_default_context(cafile=str(options.ca) if options.ca else None)
        if options.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(options.host, options.port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(options.host, options.port, timeout=TIMEOUT_S)
        with server:
            if options.tls == "starttls":
                server.starttls(context=context)
            if options.user:
                server.login(options.user, self._password)
            server.send_message(mail)

    def _mail(self, parcel: Parcel) -> EmailMessage:
        options, said = self._options, parcel.said
        host = options.sender.rpartition("@")[2] or "icctwin"
        thread = hashlib.sha256(parcel.page.incident.encode()).hexdigest()[:24]
        mail = EmailMessage()
        mail["Subject"] = " ".join(said.title.split())[:300]
        mail["From"], mail["To"] = options.sender, ", ".join(options.to)
        mail["Date"] = formatdate(parcel.now_s)
        mail["Message-ID"] = f"<{hashlib.sha256(parcel.id.encode()).hexdigest()[:32]}@{host}>"
        mail["References"] = f"<{thread}@{host}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes back
        mail["X-Priority"] = "1" if parcel.page.severity == "critical" else "3"
        mail.set_content(said.text())
        if said.picture:
            mail.add_attachment(said.picture, maintype="image", subtype="png", filename="series.png", disposition="inline")
        for file in parcel.files:
            kind, _, sub = (mimetypes.guess_type(file.name)[0] or "application/octet-stream").partition("/")
            mail.add_attachment(file.data, maintype=kind, subtype=sub, filename=file.name)
        return mail


def build(name: str, options: Options, secrets: Mapping[str, str]) -> Email:
    """See ``ui.faces.notify.ChannelModule``."""
    return Email(options, secrets)
