"""The page on which somebody invited sets a password: plain HTML, whole without scripts, and nothing from elsewhere.

The invitation is in the fragment of the letter's link, which browsers send to nobody: the page's one script takes it
from there into the form. Whoever has no scripts copies it out of the letter.
"""

from datetime import datetime
from html import escape

from libs.errors import WoodshedError
from services.gateway.domain.passwords import LONGEST, SHORTEST

LONGEST_NAME = 100
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
"""The page may hold an invitation, so nobody keeps it; a form sent from it says that it was (Origin)."""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Woodshed</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="static/page.css">
{script}</head>
<body>
<main>
<h1>{title}</h1>
{body}</main>
</body>
</html>
"""
SCRIPT = '<script src="static/invitation.js" defer></script>\n'
PROBLEM = """\
<div id="problem" role="alert" tabindex="-1">
<p>{message} {fix}</p>
</div>
"""
FORM = """\
<p>You were invited to Woodshed. Choose a password; you are signed in at once, and later with your address and it.</p>
{problem}<form method="post" action="invitation">
<div>
<label for="invitation">Invitation</label>
<input id="invitation" name="invitation" value="{invitation}" required autocomplete="off" spellcheck="false"
 autocapitalize="none" aria-describedby="invitation-hint">
<p class="hint" id="invitation-hint">The word after “Invitation” in the letter you got.</p>
</div>
<div>
<label for="name">Your name</label>
<input id="name" name="name" value="{name}" autocomplete="name" maxlength="{longest_name}" aria-describedby="name-hint">
<p class="hint" id="name-hint">As the others of your organisation see it. Left empty, it stays as they wrote it.</p>
</div>
<div>
<label for="password">Password</label>
<input id="password" name="password" type="password" required autocomplete="new-password" minlength="{shortest}"
 maxlength="{longest}" aria-describedby="password-hint">
<p class="hint" id="password-hint">{shortest} characters or more; a sentence of a few words does well.</p>
</div>
<div>
<label for="again">The same password again</label>
<input id="again" name="again" type="password" required autocomplete="new-password" maxlength="{longest}">
</div>
<button>Set the password and sign in</button>
</form>
"""
WELCOME = """\
<p>{name}, your password is set. From now on sign in with {email} and it.</p>
<dl>
<dt>Organisation</dt><dd>{organisation}</dd>
<dt>Role</dt><dd>{role}</dd>
<dt>Signed in here until</dt><dd>{until}</dd>
</dl>
<p><a href="docs">What can be done here</a></p>
"""


def form(problem: WoodshedError | None = None, invitation: str = "", name: str = "") -> str:
    """Return the form, with what was filled in before and what was wrong with it; passwords are filled in anew."""
    said = PROBLEM.format(message=escape(problem.message), fix=escape(problem.fix or "")) if problem else ""
    body = FORM.format(
        problem=said,
        invitation=escape(invitation),
        name=escape(name),
        longest_name=LONGEST_NAME,
        shortest=SHORTEST,
        longest=LONGEST,
    )
    return PAGE.format(title="Set your password", script=SCRIPT, body=body)


def welcome(*, name: str, email: str, organisation: str, role: str, until: datetime) -> str:
    """Return what whoever has just been signed in sees."""
    body = WELCOME.format(
        name=escape(name),
        email=escape(email),
        organisation=escape(organisation),
        role=escape(role),
        until=f"{until:%d %B %Y, %H:%M} UTC",
    )
    return PAGE.format(title="You are signed in", script="", body=body)
