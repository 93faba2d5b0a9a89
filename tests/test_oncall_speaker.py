"""In whose name an incident is taken and something is quiet: whoever is known needs not say it, whoever is not must."""

from pathlib import Path

import httpx
import receivers
from receivers import receiving
from test_oncall_flow import centre

from ui.access.desk import Access
from ui.access.role import Identity, Role, Scope
from ui.access.section import AccessSection
from ui.faces.server import build_server

AUTH = {"authorization": "Bearer a-token-of-the-test-and-of-it-alone"}
QUIET = {"matchers": ["alertname=hot"], "reason": "known", "end": "2026-11-02T03:00:00Z"}


async def test_a_name_is_needed_only_where_nobody_is_known(tmp_path: Path) -> None:
    with receiving(receivers.anything) as receiver, centre(tmp_path, receiver) as run:
        await run.at(1, hot=1)
        await run.at(1, hot=1)
        live = run.centre.live
        app = httpx.ASGITransport(build_server(live))
        async with httpx.AsyncClient(transport=app, base_url="http://localhost") as ask:
            (group,) = (await ask.get("/api/v1/oncall")).json()["groups"]
            take, silences = f"/api/v1/oncall/incidents/{group['incident']}/acknowledge", "/api/v1/oncall/silences"
            for name, path, said in (("by", take, {}), ("by", take, {"by": "  "}), ("author", silences, QUIET)):
                answer = await ask.post(path, json=said, headers=AUTH)
                sentence = f"Say in '{name}' who asks: this request shows neither a session nor a user's token."
                assert (answer.status_code, answer.json()["detail"]) == (422, sentence)
            assert (await ask.delete(f"{silences}/x", headers=AUTH)).status_code == 422
            live.access = access = Access(live.records, AccessSection.model_validate({}))
            access.users.add("li", "three green pumps hum", Role.OPERATOR, run.clock.time)
            owner = Identity("li", "li", Role.OPERATOR)
            token = access.tokens.make(owner, "bot", Role.OPERATOR, tuple(Scope), 30, run.clock.time)[1]
            shows = {"authorization": f"Bearer {token}"}
            taken = await ask.post(take, json={"note": "on it"}, headers=shows)
            assert (taken.status_code, taken.json()["by"]) == (200, "li")
            made = await ask.post(silences, json=QUIET | {"author": "somebody else"}, headers=shows)
            assert made.json()["author"] == "li"
            ended = await ask.delete(f"{silences}/{made.json()['id']}", headers=shows)
            assert (ended.status_code, ended.json()["by"]) == (200, "li")
            stopped = await ask.post("/api/v1/stop", json={"why": "leak"}, headers=shows)
            assert (stopped.status_code, stopped.json()["by"]) == (202, "li")
        await run.close()
