"""``/account``: one's own password, tokens and sessions, and for whoever administers the users. Over ``/api/v1/access``."""

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from ui.access.role import ROLES, Scope
from ui.faces.pages import Page
from ui.faces.pages.dig import chosen, facts, field
from ui.faces.pages.markup import say
from ui.faces.pages.shell import language_of, shell
from ui.faces.push import Pulse
from ui.words import words

PAGE = Page("account", "/account", "Account", "Ourselves", live=False, fixed=False)
LABELS = ("remove", "nothing yet", "this one", "Nobody signs in here.", "active", "viewer", "operator", "engineer", "admin")


def add_account(server: FastAPI, pulse: Pulse) -> None:
    """Serve the page on ``server``."""

    @server.get("/account", response_class=HTMLResponse, include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        said = words(language_of(request))
        body = facts(pulse.live) + _body()
        return HTMLResponse(shell(PAGE, said, body=body, scripts=("dig_account.js",), styles=("dig.css",), labels=LABELS))


def _body() -> str:
    roles = chosen("role", {role: role for role in ROLES})
    scopes = "".join(f'<option value="{scope.value}">{scope.value}</option>' for scope in Scope)
    hidden = 'type="password" minlength="15" maxlength="256" required autocomplete="new-password"'
    old = '<input name="old" type="password" required maxlength="256" autocomplete="current-password">'
    password = (
        f'<form id="password" class="fields">{field("Old password", old)}{field("New password", f"<input name=new {hidden}>")}'
        '<button data-t="Change password">Change password</button></form>'
    )
    token = (
        f'<form id="token" class="fields">{field("Name", "<input name=name required maxlength=100>")}{field("Role", roles)}'
        f"{field('Scopes', f'<select name=scopes multiple size=3>{scopes}</select>')}"
        f"{field('Days', '<input name=days type=number min=1 max=400 value=90>')}"
        f'<label class="check"><input type="checkbox" name="kiosk"> {say("for a kiosk that can only look")}</label>'
        '<button data-t="Make a token">Make a token</button></form>'
        f'<p id="made" hidden>{say("this is shown once: keep it now")} <code></code></p>'
    )
    user = (
        f'<form id="user" class="fields">{field("Name", "<input name=name required maxlength=64 autocomplete=off>")}'
        f"{field('Password', f'<input name=password {hidden}>')}{field('Role', roles)}"
        '<button data-t="Add a user">Add a user</button></form>'
    )
    return (
        '<h1 data-t="Account">Account</h1><p id="me"></p><p id="said" role="status"></p><div class="columns"><div>'
        f"{_panel('Change password', password)}{_panel('Your sessions', '<div id=sessions></div>')}</div><div>"
        f"{_panel('Your tokens', '<div id=tokens></div>' + token)}</div></div>"
        f'<section class="panel" id="people" hidden><h2 data-t="Users">Users</h2><div id="users"></div>{user}</section>'
    )


def _panel(title: str, inside: str) -> str:
    return f'<section class="panel"><h2 data-t="{title}">{title}</h2>{inside}</section>'
