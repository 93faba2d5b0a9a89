"""What ``icctwin deploy`` gives out, read by the programs that will read it where they can be had here: systemd, Helm, the
schemas of Kubernetes. No container engine is: container and compose files are held against what they name."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import until

from twin.errors import SourceError
from ui.alive import HOST, PORT, ask
from ui.benches.demo import free_port
from ui.cli import EXIT_USAGE, build_parser, main
from ui.config import WallSection, load_config
from ui.deploying import SHIPPED
from ui.memory import SHIPPED_WITH

ROOT = Path(__file__).resolve().parent.parent
USER = 10001


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("deploy") / "out"
    assert main(["deploy", "--out", str(out), "--config", "/srv/centre/site.toml"]) == 0
    return out


def test_what_is_there_already_is_kept(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "--out", str(given), "--config", "/srv/centre/site.toml", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == sum(path.is_file() for path in SHIPPED.rglob("*"))
    unit = given / "systemd" / "icctwin.service"
    ours = unit.read_text()
    unit.write_text(ours + "# mine\n")
    assert main(["deploy", "--out", str(given), "--for", "systemd", "--config", "/srv/centre/site.toml"]) == 2
    assert "is there already and stays as it is" in capsys.readouterr().err
    assert unit.read_text().endswith("# mine\n")
    unit.write_text(ours)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here (Debian package systemd)")
def test_systemd_takes_every_unit_and_finds_it_shut_tight(given: Path, tmp_path: Path) -> None:
    folder = given / "systemd"
    units = ["icctwin.service", "icctwin-ingest@1-2.service", "icctwin-watchdog.service", "icctwin-backup.service"]
    done = subprocess.run(
        ["systemd-analyze", "verify", *(f"./{unit}" for unit in (*units, "icctwin-backup.timer"))],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, [line for line in done.stderr.splitlines() if "icctwin" in line]) == (0, [])
    (tmp_path / "broken.service").write_text((folder / "icctwin.service").read_text().replace("UMask=0077", "UMusk=0077"))
    said = subprocess.run(["systemd-analyze", "verify", "./broken.service"], cwd=tmp_path, capture_output=True, text=True)
    assert "UMusk" in said.stderr, "the check sees nothing"
    judged = ["systemd-analyze", "security", "--offline=true", "./icctwin.service"]
    told = subprocess.run(judged, cwd=folder, capture_output=True, text=True).stdout
    level = re.search(r"exposure level for icctwin\.service: ([\d.]+)", told)
    assert level is not None
    assert float(level[1]) <= 2.5, "of 10; what is written there opens it further than it was"


def test_what_units_start_is_a_command_that_the_program_knows(given: Path) -> None:
    from ui.cli import build_parser

    seen = 0
    for unit in (given / "systemd").glob("*.service"):
        for line in re.findall(r"^ExecStart=(.*)", unit.read_text(), re.MULTILINE):
            said = re.sub(r"\$\(.*?\)", "x", line[line.index("/icctwin ") :]).split("'")[0]
            words = said.replace("%I", "1/2").replace("${ROLE}", "all").split()
            assert build_parser().parse_args([word.strip('"') for word in words[1:]]).run
            assert str(Path(sys.executable).parent) in line
            assert "/srv/centre/site.toml" in line
            seen += 1
    assert seen == 4


def test_units_wait_for_a_database_without_end_and_for_a_person_where_the_configuration_is_wrong(given: Path) -> None:
    """A start that finds no database takes 4 s and ends with 1: any limit of starts is reached within minutes."""
    for name in ("icctwin.service", "icctwin-ingest@.service"):
        text = (given / "systemd" / name).read_text()
        assert re.findall(r"^(?:StartLimit|Restart).*=.*", text, re.MULTILINE) == [
            "StartLimitIntervalSec=0", "Restart=on-failure", "RestartSec=5", f"RestartPreventExitStatus={EXIT_USAGE}",
        ]  # fmt: skip
        assert "\nRequiresMountsFor=/srv/centre/site.toml\n" in text, "a folder that is not mounted yet is no mistake"


def test_what_lives_for_months_is_started_without_what_keeps_memory(given: Path) -> None:
    """A name that glibc does not know would be passed over without a word: its own loader is asked."""
    assert SHIPPED_WITH
    long_lived = [text for unit in (given / "systemd").glob("*.service") if "Type=oneshot" not in (text := unit.read_text())]
    assert len(long_lived) == 3
    for name, value in SHIPPED_WITH.items():
        assert all(f"\nEnvironment={name}={value}\n" in text for text in long_lived)
        assert f"\nENV {name}={value}\n" in (given / "Containerfile").read_text()
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if loader.exists():
        told = subprocess.run([loader, "--list-tunables"], capture_output=True, text=True, env=SHIPPED_WITH).stdout
        assert "glibc.malloc.tcache_count: 0x0 " in told


def test_the_container_runs_as_nobody_and_takes_only_what_is_pinned(given: Path) -> None:
    text = (given / "Containerfile").read_text().replace("\\\n", " ")
    stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    last = stages[-1]
    assert f"USER {USER}:{USER}" in last
    assert "RUN apt" not in last
    assert all("--require-hashes" in run or "--no-deps" in run for run in re.findall(r"pip install[^&]*", text))
    lock = (ROOT / "requirements-image.txt").read_text()
    assert not re.search(r"^(vtk|usd-core)==", lock, re.MULTILINE), "it draws nothing there"
    copied = [word for line in re.findall(r"^COPY (?!--)(.*)", text, re.MULTILINE) for word in line.split()[:-1]]
    allowed = {line[1:] for line in (given / "Containerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in copied:
        assert (ROOT / name).exists(), f"{name} is not in a checkout"
        assert Path(name).parts[0] in allowed, f"{name} is left out of the context"
    asked = re.search(r"HEALTHCHECK .* CMD (\[.*\])", last)
    assert asked is not None
    assert build_parser().parse_args(json.loads(asked[1])[1:]).config == Path("/etc/icctwin/site.toml")
    assert re.search(r'ENTRYPOINT \["icctwin"\]\nCMD \["up", ', last)


def test_every_stage_is_made_for_the_processor_that_the_image_is_for(given: Path) -> None:
    """Where one stage names a platform, buildah 1.28 makes the later ones for it: amd64 in an image that says arm64."""
    text = (given / "Containerfile").read_text()
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 4
    assert re.findall(r"^FROM --platform.*", text, re.MULTILINE) == []


def test_who_builds_by_podman_keeps_the_health_check(given: Path) -> None:
    read = [given / "Containerfile", ROOT / "docs" / "deploy.md"]
    calls = [line for path in read for line in path.read_text().splitlines() if "podman build " in line]
    assert len(calls) == 2
    assert all("--format docker" in call for call in calls), "in podman's own format there is none"


def test_a_wall_that_is_not_there_does_not_live(tmp_path: Path) -> None:
    assert (WallSection().host, WallSection().port) == (HOST, PORT)
    config = tmp_path / "site.toml"
    config.write_text(f"[wall]\nport = {free_port()}\n")
    with pytest.raises(SourceError, match=r"does not say that the wall lives: .*refused"):
        ask(config)
    config.write_text("[wall\n")
    with pytest.raises(SourceError, match="cannot be read"):
        ask(config)


def services(given: Path) -> Mapping[str, Any]:
    return dict(yaml.safe_load((given / "compose" / "compose.yaml").read_text()))


def test_compose_is_whole_and_shut(given: Path) -> None:
    text = services(given)
    ours = text["services"]["icctwin"]
    assert ours["read_only"] is True
    assert (ours["user"], ours["cap_drop"], ours["security_opt"]) == (f"{USER}:{USER}", ["ALL"], ["no-new-privileges:true"])
    assert all(port.startswith("127.0.0.1:") for port in ours["ports"])
    for service in text["services"].values():
        assert set(service["secrets"]) <= set(text["secrets"])
        assert set(service["networks"]) <= set(text["networks"])
        for volume in service["volumes"]:
            name = volume.split(":")[0]
            assert name.startswith(".") or name in text["volumes"]
        assert set(service.get("depends_on", {})) <= set(text["services"])
        assert service.get("healthcheck"), "an image of podman's own format has none"
        if service["image"] == ours["image"]:
            assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], ours["user"])
    assert re.fullmatch(r"\$\{ICCTWIN_CHECKOUT:\?.*\.env.*\}", ours["build"]["context"]), "where it is not said, that is said"
    assert "echo ICCTWIN_CHECKOUT=" in (given / "compose" / "compose.yaml").read_text()
    told = text["services"]["influxdb"]["environment"]
    secret = {key: value for key, value in told.items() if "TOKEN" in key or "PASS" in key}
    assert len(secret) == 2
    assert all(key.endswith("_FILE") and value.startswith("/run/secrets/") for key, value in secret.items())


def test_compose_asks_for_health_as_the_image_does(given: Path) -> None:
    image = (given / "Containerfile").read_text().replace("\\\n", " ")
    told = re.search(r"HEALTHCHECK --interval=(\S+) --timeout=(\S+) --start-period=(\S+) --retries=(\d+) +CMD (\[.*\])", image)
    assert told is not None
    check = services(given)["services"]["icctwin"]["healthcheck"]
    assert check["test"] == ["CMD", *json.loads(told[5])]
    assert [str(check[name]) for name in ("interval", "timeout", "start_period", "retries")] == list(told.groups()[:4])


def test_the_configuration_beside_compose_is_one(given: Path) -> None:
    path = given / "compose" / "site.toml"
    (path.parent / "assets.csv").write_text("id,kind,parent\nhall-1,hall,\n")
    (path.parent / "links.csv").write_text("from,to,relation,share\n")
    loaded = load_config(path)
    assert loaded.wall.host == "0.0.0.0"
    secrets = {f"/run/secrets/{name}" for name in services(given)["services"]["icctwin"]["secrets"]}
    asked = {str(loaded.store.token_file), *(str(source.options.token_file) for source in loaded.sources)}  # type: ignore[attr-defined]
    assert asked == secrets
    assert loaded.store.url.split("//")[1].split(":")[0] in services(given)["services"]
    influx = services(given)["services"]["influxdb"]["environment"]
    assert (loaded.store.org, loaded.store.database) == (
        influx["DOCKER_INFLUXDB_INIT_ORG"], influx["DOCKER_INFLUXDB_INIT_BUCKET"],
    )  # fmt: skip


# --- Helm ---------------------------------------------------------------------------------------------------------------

TRAPS = {"ports": [{"port": 1162, "protocol": "UDP"}]}
CHOICES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("as it comes", {}, {"StatefulSet centre-all", "Service centre", "ConfigMap centre-files", "NetworkPolicy centre"}),
    (
        "split",
        {"split": {"shards": 2}, "secretName": "kept", "networkPolicy": {"from": [{"podSelector": {}}], "devices": TRAPS}},
        {"StatefulSet centre-tasks", "StatefulSet centre-ingest-1", "StatefulSet centre-ingest-2", "Service centre",
         "ConfigMap centre-files", "NetworkPolicy centre"},
    ),
    (
        "another's files",
        {"existingConfigMap": "mine", "networkPolicy": {"enabled": False}, "nodeSelector": {"disk": "ssd"},
         "persistence": {"storageClassName": "fast"}, "tolerations": [{"key": "twin", "operator": "Exists"}]},
        {"StatefulSet centre-all", "Service centre"},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def helm() -> Any:
    return pytest.importorskip("helm_python", reason="no Helm is here (PyPI: helm-python-sdk, the Helm 4 library)")


def objects(rendered: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, text in rendered.items():
        if not name.endswith(".txt"):
            yield from (one for one in yaml.safe_load_all(text) if one)


@pytest.mark.parametrize(("values", "wanted"), [row[1:] for row in CHOICES], ids=[row[0] for row in CHOICES])
def test_the_chart_gives_sound_objects(helm: Any, given: Path, values: dict[str, Any], wanted: set[str]) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    with helm.Chart.load(given / "helm" / "icctwin") as chart:
        made = list(objects(chart.render(values=values, name="centre")))
    assert {f"{one['kind']} {one['metadata']['name']}" for one in made} == wanted
    for one in made:
        kubernetes_validate.validate(one, "1.31", strict=True)
    for one in made:
        if one["kind"] == "StatefulSet":
            shut(one["spec"]["template"]["spec"])


def shut(pod: Mapping[str, Any]) -> None:
    """As the restricted Pod Security Standard asks, and a file system that is read alone."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}["/etc/icctwin"]
        if "command" not in container:
            assert build_parser().parse_args(container["args"]).run
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert build_parser().parse_args(container[probe]["exec"]["command"][1:]).run


def inside(line: str) -> list[str]:
    """The words of the call of icctwin in a line of a shell."""
    return line.partition("icctwin ")[2].split()


def backs_up(script: str) -> bool:
    (line,) = (line for line in script.splitlines() if "icctwin backup" in line)
    words = inside(line.replace("$$", "$").replace("$(date -u +%F-%H%M%S)", "now").removesuffix(" &"))
    return bool(build_parser().parse_args(words).run)


def test_compose_lets_go_when_icctwin_dies_and_backs_up(given: Path) -> None:
    compose = services(given)["services"]
    assert build_parser().parse_args(compose["watchdog"]["command"]).run
    assert backs_up(compose["backup"]["command"][0])


@pytest.mark.parametrize(("age_h", "taken"), [(None, 1), (25, 1), (23, 0)])
def test_the_backup_loop_looks_before_it_sleeps_and_ends_when_it_is_told_to(
    given: Path, tmp_path: Path, age_h: float | None, taken: int
) -> None:
    kept, programs = tmp_path / "kept", tmp_path / "bin"
    (kept / "backups").mkdir(parents=True)
    programs.mkdir()
    (programs / "icctwin").write_text('#!/bin/sh\n: > "$5"\n')
    (programs / "sleep").write_text('#!/bin/sh\n: > asleep\nexec /bin/sleep "$1"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    if age_h is not None:
        old = kept / "backups" / "backup-2026-11-01-000000.tar.zst"
        old.touch()
        os.utime(old, (then_s := time.time() - 3600 * age_h, then_s))
    script = services(given)["services"]["backup"]["command"][0].replace("$$", "$").replace("/var/lib/icctwin", str(kept))
    loop = subprocess.Popen(["/bin/sh", "-c", script], env={"PATH": f"{programs}:/usr/bin:/bin"}, start_new_session=True)
    until("it sleeps", (kept / "asleep").exists, 30)
    loop.terminate()
    status = loop.wait(30)
    os.killpg(loop.pid, signal.SIGKILL)  # in a container its sleep goes with it
    assert status == 0, "a signal without a handler does nothing to the first process of a container"
    assert len(list((kept / "backups").iterdir())) == taken + (age_h is not None)


def test_the_chart_lets_go_when_icctwin_dies_and_backs_up(helm: Any, given: Path) -> None:
    with helm.Chart.load(given / "helm" / "icctwin") as chart:
        split = list(objects(chart.render(values={"split": {"shards": 1}}, name="c")))
    sets = [one for one in split if one["kind"] == "StatefulSet"]
    pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"] for one in sets}
    assert [len(pods[name]) for name in ("c-tasks", "c-ingest-1")] == [3, 1], "beside the process that acts, and no other"
    told = {one["name"]: one for one in pods["c-tasks"]}
    assert told["watchdog"]["args"] == services(given)["services"]["watchdog"]["command"]
    assert told["backup"]["args"][0] == services(given)["services"]["backup"]["command"][0].replace("$$", "$")


def test_helm_has_nothing_to_find_fault_with_and_refuses_wrong_values(helm: Any, given: Path) -> None:
    from helm_python import chart as charts

    said = charts.lint(given / "helm" / "icctwin")
    assert said["errors"] == []
    assert [told["error"] for told in said["messages"]] in ([], ["icon is recommended"])
    with (
        helm.Chart.load(given / "helm" / "icctwin") as loaded,
        pytest.raises(helm.HelmError, match=r"(?i)shards|schema|validat"),
    ):
        loaded.render(values={"split": {"shards": 1000}}, name="centre")


def test_the_chart_is_of_this_version(given: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((given / "helm" / "icctwin" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])
    values = yaml.safe_load((given / "helm" / "icctwin" / "values.yaml").read_text())
    folder = given / "values"
    folder.mkdir()
    for name, text in values["files"].items():
        (folder / name).write_text(text)
    assert load_config(folder / "site.toml").wall.host == "0.0.0.0"
