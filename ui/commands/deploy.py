"""``icctwin deploy``: what keeps a centre running, as files for systemd, containers and Kubernetes."""

import argparse
import json
import sys
from pathlib import Path

from ui.commands import add_command, json_option, say


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``deploy``."""
    parser = add_command(
        commands,
        "deploy",
        deploy,
        "write systemd units, a container file, a compose file with InfluxDB or a Helm chart",
        "icctwin deploy --for systemd --config /srv/icctwin/site.toml --out units",
    )
    ways = ("systemd", "container", "compose", "helm")
    parser.add_argument("--for", dest="way", choices=(*ways, "all"), default="all", help="which of them (default: all)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where they go")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("/etc/icctwin/site.toml"),
        metavar="FILE",
        help="the configuration that units start (default: /etc/icctwin/site.toml)",
    )
    json_option(parser)


def deploy(options: argparse.Namespace) -> int:
    """The files, a line each."""
    from ui.deploying import WAYS, write_deploy

    ways = WAYS if options.way == "all" else (options.way,)
    made = write_deploy(options.out, ways, Path(sys.executable).parent, options.config.absolute())
    if options.json:
        say(json.dumps({"files": [str(path) for path in made]}))
    else:
        for path in made:
            say(str(path))
    return 0
