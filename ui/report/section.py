"""``[report]`` of a configuration: which reports come by themselves, what they hold, who is told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from twin.errors import ConfigError

Every = Literal["week", "month", "quarter"]
Format = Literal["html", "pdf", "json", "csv", "xlsx"]
Language = Literal["en", "zh"]
MAX_SCOPES = 200


class ReportSection(BaseModel):
    """``[report]``: ``every``: spans whose report is made by itself when they are over, at ``hour`` of the site's day (weeks on
    Monday; none: no report by itself); ``scopes``: centre, hall:NAME, tenant:NAME, project:NAME, or halls, tenants, projects
    for all of a kind; ``recipients``: channels of the on-call file that are told, by e-mail with the files of the formats
    ``attach``; ``keep``: so many reports stay, the newest; ``pue_limit``: the PUE that policy allows; ``gpu_peak_flops``: peak
    FLOP/s of one GPU, dense, at the precision that effective computing power is counted in (0: not shown); ``picture``: of
    the hottest hour in 3D, where the extra ``scene`` is installed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    every: tuple[Every, ...] = ("week",)
    hour: int = Field(7, ge=0, le=23)
    languages: tuple[Language, ...] = Field(("en", "zh"), min_length=1)
    formats: tuple[Format, ...] = Field(("html", "pdf", "json", "csv", "xlsx"), min_length=1)
    scopes: tuple[str, ...] = Field(("centre",), min_length=1, max_length=MAX_SCOPES)
    recipients: tuple[str, ...] = ()
    attach: tuple[Format, ...] = ("pdf",)
    keep: int = Field(100, ge=1, le=1000)
    pue_limit: float | None = Field(None, ge=1, le=10)
    picture: bool = True
    gpu_peak_flops: float = Field(0.0, ge=0, le=1e18)

    @field_validator("scopes")
    @classmethod
    def _known_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from ui.report.scope import scope_of  # not before it is asked for: a configuration without reports stays light

        for one in value:
            if one not in ("halls", "tenants", "projects"):
                try:
                    scope_of(one)
                except ConfigError as error:
                    raise ValueError(error.problems[0].what) from error
        return value


REPORTS = ReportSection.model_validate({})  # of a configuration that says nothing of them
