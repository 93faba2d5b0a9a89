"""The API against its own description: questions made from ``/openapi.json`` by schemathesis, good and bad, to a whole centre.

Every check of schemathesis counts but two. Whether an asset, a metric or a job exists is nothing that a schema knows, so a
question that fits it may well be refused (422 or 404, in one described sentence). In a query all is text, so what is no string
there may well be taken; what is wrong in a body is refused.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks
from whole_centre import alive, token_of, write_centre

from ui.access.role import Role
from ui.access.routes import ROUTES, Does
from ui.faces.server import build_server

EXAMPLES, FEW = 4, 1
LONG = {"/api/v1/what-if", "/api/v1/simulate", "/api/v1/replay"}
LONG |= {"/api/v1/scene.glb", "/api/v1/scene.usdc", "/api/v1/scene/runs"}
UNKNOWABLE = [openapi_checks.positive_data_acceptance]
IN_QUERIES = [*UNKNOWABLE, openapi_checks.negative_data_rejection]
FOR_PROGRAMS = [row for row in ROUTES if row.path.startswith("/api/") or row.does is Does.FEED]
ASKED = [(row.method, row.path.replace(":path}", "}")) for row in FOR_PROGRAMS]
ASKED += [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/ping")]


class Asker:
    """The server, its description, and what an admin shows."""

    def __init__(self, app: Any, token: str) -> None:
        self.headers = {"authorization": f"Bearer {token}"}
        self.schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=self.headers)
        self.described = {(op.method.upper(), op.path): op for op in (found.ok() for found in self.schema.get_all_operations())}


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    with alive(write_centre(tmp_path_factory.mktemp("schema"), access="requests_per_s = 10000")) as centre:
        yield Asker(build_server(centre.live), token_of(centre, "li.na", Role.ADMIN))


def test_every_route_that_a_program_may_ask_is_described(asker: Asker) -> None:
    assert set(asker.described) == set(ASKED)


@pytest.mark.parametrize("way", ASKED, ids=" ".join)
def test_no_question_breaks_it_and_each_answer_is_as_described(asker: Asker, way: tuple[str, str]) -> None:
    operation = asker.described[way]
    answered, examples = 0, FEW if way[1] in LONG else EXAMPLES
    left_out = IN_QUERIES if way[0] == "GET" else UNKNOWABLE
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(max_examples=examples, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            nonlocal answered
            answer = case.call(headers=asker.headers)
            answered += 1
            case.validate_response(answer, headers=asker.headers, excluded_checks=left_out)

        try:
            ask()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, "nothing that can be asked is wrong"
    assert answered > 0
