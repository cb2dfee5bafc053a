"""A notice as mail: plain text for every reader, and HTML that stands without images or style sheets.

Mail programs know little CSS, so there are tables and inline styles only. Everything from outside is
escaped, and nothing is fetched when the mail is opened.
"""

from email.message import EmailMessage
from html import escape

from services.notifier.domain.notice import Notice

COLOURS = {"good": "#1a7f4b", "bad": "#b3402a", "plain": "#4a5560"}
LONGEST_SUBJECT = 120

PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body style="margin:0;background:#f4f2ee;font:16px/1.5 Georgia,'Times New Roman',serif;color:#24292e">
<div style="display:none;max-height:0;overflow:hidden">{lead}</div>
<table role="presentation" width="100%" cellspacing="0" cellpadding="0">
<tr><td align="center" style="padding:24px 12px">
<table role="presentation" width="560" cellspacing="0" cellpadding="0" style="max-width:100%;background:#ffffff;\
border-top:4px solid {colour};border-radius:4px">
<tr><td style="padding:28px 32px 8px">\
<h1 style="margin:0;font-size:23px;line-height:1.3;color:{colour}">{title}</h1></td></tr>
<tr><td style="padding:8px 32px 16px">{lead}</td></tr>
{figures}
<tr><td style="padding:16px 32px 28px"><a href="{link}" style="display:inline-block;padding:11px 20px;\
background:{colour};color:#ffffff;text-decoration:none;border-radius:4px">{link_label}</a></td></tr>
</table>
<p style="font-size:13px;color:#6a737d">Woodshed · {job_id}</p>
</td></tr></table>
</body>
</html>
"""
FIGURES = """\
<tr><td style="padding:0 32px"><table role="presentation" width="100%" cellspacing="0" cellpadding="0" \
style="border-top:1px solid #e4e0d8">{rows}</table></td></tr>"""
FIGURE = """\
<tr><td style="padding:9px 16px 9px 0;border-bottom:1px solid #e4e0d8;color:#6a737d;white-space:nowrap;\
vertical-align:top">{label}</td><td style="padding:9px 0;border-bottom:1px solid #e4e0d8;text-align:right;\
word-break:break-word">{value}</td></tr>"""


def letter(notice: Notice, notice_id: str, sender: str, recipients: str) -> EmailMessage:
    """Return a multipart mail; its Message-ID is the notice's, so mail programs show a repeated one once."""
    mail = EmailMessage()
    mail["Subject"] = f"Woodshed: {notice.title}"[:LONGEST_SUBJECT]
    mail["From"] = sender
    mail["To"] = recipients
    mail["Message-ID"] = f"<{notice_id}@woodshed>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(notice.text() + "\n")
    mail.add_alternative(page(notice), subtype="html")
    return mail


def page(notice: Notice) -> str:
    """Return the HTML part."""
    rows = "".join(FIGURE.format(label=escape(label), value=escape(value)) for label, value in notice.figures)
    return PAGE.format(
        title=escape(notice.title),
        lead=escape(notice.lead),
        colour=COLOURS[notice.mood],
        figures=FIGURES.format(rows=rows) if rows else "",
        link=escape(notice.link),
        link_label=escape(notice.link_label),
        job_id=escape(notice.job_id),
    )
