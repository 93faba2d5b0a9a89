"""``[report]`` of a configuration: which reports come by themselves, what they hold, who is told."""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from twin.errors import ConfigError

if TYPE_CHECKING:
    from ui.report.energy import Limits

Every = Literal["week", "month", "quarter"]
Format = Literal["html", "pdf", "json", "csv", "xlsx"]
Language = Literal["en", "zh"]
MAX_SCOPES, MOST_PUE = 200, 10.0


YEAR_S = 365.25 * 86400.0


class ReportSection(BaseModel):
    """``[report]``: ``every``: spans whose report is made by itself when they are over, at ``hour`` of the site's day (weeks on
    Monday; none: no report by itself); ``scopes``: centre, hall:NAME, tenant:NAME, project:NAME, or halls, tenants, projects
    for all of a kind; ``recipients``: channels of the on-call file that are told, by e-mail with the files of the formats
    ``attach``; ``keep``: so many reports stay, the newest; ``pue_limit``: the PUE that policy allows; ``gpu_peak_flops``: peak
    FLOP/s of one GPU, dense, at the precision that effective computing power is counted in (0: not shown);
    ``embodied_kg_per_gpu``: CO2 of making a GPU with its share of server and hall, as makers' footprints have it (0: the SCI
    is not shown), over ``gpu_life_years``; ``picture``: of the hottest hour in 3D."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    every: tuple[Every, ...] = ("week",)
    hour: int = Field(7, ge=0, le=23)
    languages: tuple[Language, ...] = Field(("en", "zh"), min_length=1)
    formats: tuple[Format, ...] = Field(("html", "pdf", "json", "csv", "xlsx"), min_length=1)
    scopes: tuple[str, ...] = Field(("centre",), min_length=1, max_length=MAX_SCOPES)
    recipients: tuple[str, ...] = ()
    attach: tuple[Format, ...] = ("pdf",)
    keep: int = Field(100, ge=1, le=1000)
    pue_limit: float | None = Field(None, ge=1, le=MOST_PUE)
    picture: bool = True
    gpu_peak_flops: float = Field(0.0, ge=0, le=1e18)
    embodied_kg_per_gpu: float = Field(0.0, ge=0, le=1e6)
    gpu_life_years: float = Field(5.0, gt=0, le=50)

    def limits(self, pue_limit: float | None = None) -> "Limits":
        """What a report is held against, with another PUE limit where one is given."""
        from ui.report.energy import Limits  # as above

        pue = self.pue_limit if pue_limit is None else pue_limit
        return Limits(pue, self.gpu_peak_flops, self.embodied_kg_per_gpu, self.gpu_life_years * YEAR_S)

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
