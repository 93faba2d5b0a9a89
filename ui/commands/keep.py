"""Commands that keep a centre and its papers: ``doctor``, ``alive``, ``backup``, ``restore`` and ``reference``."""

import argparse
import json
from pathlib import Path

from ui.commands import add_command, config_option, json_option, say, tell


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``doctor``, ``alive``, ``backup``, ``restore`` and ``reference``."""
    parser = add_command(
        commands,
        "doctor",
        doctor,
        "look whether this machine and this installation can carry a centre",
        "icctwin doctor --config site.toml",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="look at what this configuration needs as well")
    json_option(parser)

    parser = add_command(
        commands, "alive", alive, "ask whether the wall of this machine's centre answers", "icctwin alive --config site.toml"
    )
    config_option(parser)

    parser = add_command(
        commands,
        "backup",
        backup,
        "copy configuration, store and records of a centre into one file, also while it runs",
        "icctwin backup --config site.toml --out centre-2026-11-25.tar.zst",
    )
    config_option(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write; it must not exist")
    json_option(parser)

    parser = add_command(
        commands,
        "restore",
        restore,
        "put a backup back into a new folder, every byte checked",
        "icctwin restore centre-2026-11-25.tar.zst --into my-centre",
    )
    parser.add_argument("file", type=Path, help="what icctwin backup wrote")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR", help="a folder that does not exist or is empty")
    json_option(parser)

    parser = add_command(
        commands,
        "reference",
        reference,
        "write the reference of configuration, metrics, commands and alerts, as Markdown",
        "icctwin reference --out docs/reference",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the pages go (default: all to stdout)")


def doctor(options: argparse.Namespace) -> int:
    """A row for each thing looked at; exit 1 where one is bad."""
    from ui.doctor import Health, examine

    rows = list(examine(options.config))
    well = all(row.health is not Health.BAD for row in rows)
    if options.json:
        say(json.dumps({"ok": well, "rows": [row._asdict() for row in rows]}))
    else:
        for row in rows:
            say(f"{row.health:<5} {row.what:<14} {row.says}")
    return 0 if well else 1


def alive(options: argparse.Namespace) -> int:
    """Where it answered; exit 1 where it does not."""
    from ui.alive import ask

    say(f"{ask(options.config)} says that the wall lives")
    return 0


def backup(options: argparse.Namespace) -> int:
    """One file that holds the centre."""
    from importlib.metadata import version

    from ui.backup import backup as back_up
    from ui.tasks import RealClock

    taken = back_up(options.config, options.out, RealClock().now(), version("icctwin"))
    size = options.out.stat().st_size
    if options.json:
        said = {"files": len(taken.files), "bytes": size, "left_out": list(taken.left_out)}
        say(json.dumps(said, ensure_ascii=False))
        return 0
    say(f"{len(taken.files)} files of {sum(taken.files.values()):,} bytes are in {options.out} ({size:,} bytes)")
    for what in taken.left_out:
        tell(f"left out: {what}")
    return 0


def restore(options: argparse.Namespace) -> int:
    """The centre of a backup, ready to start."""
    from ui.restoring import restore as put_back

    done = put_back(options.file, options.into)
    if options.json:
        said = {"config": str(done.config), "ready": done.ready, "time": done.time.isoformat(), "files": done.files}
        say(json.dumps(said | {"notes": list(done.notes)}, ensure_ascii=False))
        return 0
    start = f"; start with: icctwin up --config {done.config}" if done.ready else ""
    say(f"{done.files} files as of {done.time:%Y-%m-%d %H:%M} UTC are in {options.into}{start}")
    for note in done.notes:
        tell(note)
    return 0


def reference(options: argparse.Namespace) -> int:
    """What may be configured, measured, typed and warned of, as this version has it."""
    from ui.reference import pages

    for name, text in pages().items():
        if options.out is None:
            say(text)
            continue
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / name).write_text(text, encoding="utf-8")
        say(str(options.out / name))
    return 0
