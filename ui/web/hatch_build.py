"""Before a wheel or an sdist is built: are the 3D page's parts from npm there? They are not committed, so a checkout has none,
and what is built without them installs without a word and shows its plan for ever."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PART = "ui/faces/static/vendor/three.js"


class Parts(BuildHookInterface[Any]):
    """Refuses to build without them. An editable installation may lack them: ``make web`` puts them beside it later."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version``: ``standard`` or ``editable``."""
        if version != "editable" and not (Path(self.root) / PART).is_file():
            self.app.abort(f"icctwin: {PART} is missing, so /scene would show its plan alone; run make web first, or make dist")
