"""`graft snapshot create | merge | show | diff | verify`. What is said of a source's card is in `source`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out

if TYPE_CHECKING:
    from agents.settings import Settings
    from engine.snapshot import State

_DESCRIPTION = """\
Cut, merge, show, compare and check snapshots.

A snapshot is one file: a manifest and raw arrays, with a checksum and, with [state] key, a signature. It is never a
pickle. A checkpoint or a state of `graft replay` holds all that a shard has learned; a source snapshot holds only what
is general about it, without a raw sample or an absolute level, to seed another environment. Its card says where it is
from, what its metrics are, and whether it would have helped those of its own entities that were left out.

With [state] key every command that reads a snapshot wants it signed with that key, a seed as well.
"""
_EPILOG = """\
examples:
  graft snapshot create --from web.state --out eu.snap
  graft snapshot merge eu.snap us.snap --out all.snap
  graft snapshot show eu.snap
  graft snapshot diff monday.state friday.state
  graft snapshot verify /var/lib/graft/shards/*/*.snap
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    raw = argparse.RawDescriptionHelpFormatter
    create = actions.add_parser("create", help="cut a source snapshot from a state", formatter_class=raw)
    create.description = "Distil a state into a source snapshot: what is general of it, by metric class."
    create.epilog = "example:\n  graft snapshot create --from-dir /var/lib/graft --out eu.snap"
    source = create.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", dest="state", type=Path, metavar="FILE", help="state of a replay, or a checkpoint")
    source.add_argument("--from-dir", type=Path, metavar="DIR", help="state.dir of a worker (it may be running)")
    create.add_argument("--part", metavar="NAME", help="which shard, where there are several (default: the largest)")
    create.add_argument("--out", dest="target", type=Path, required=True, metavar="FILE", help="the snapshot to write")
    create.add_argument("--owner", metavar="TEXT", help="for its card: who answers for it")
    create.add_argument("--licence", metavar="TEXT", help="for its card: under which terms it may be used")
    merge = actions.add_parser("merge", help="make one source of several", formatter_class=raw)
    merge.description = "Pool source snapshots class by class. The order does not matter; one given twice is one."
    merge.epilog = "example:\n  graft snapshot merge eu.snap us.snap --weight 2,1 --out all.snap"
    merge.add_argument("files", nargs="+", type=Path, metavar="FILE", help="source snapshots")
    merge.add_argument("--weight", metavar="N,N,...", help="one each (default: by the series behind a class)")
    merge.add_argument("--out", dest="target", type=Path, required=True, metavar="FILE", help="the snapshot to write")
    show = actions.add_parser("show", help="what is in a snapshot", formatter_class=raw)
    show.epilog = "example:\n  graft snapshot show eu.snap --json"
    show.add_argument("file", type=Path)
    show.add_argument("--arrays", action="store_true", help="list every array")
    diff = actions.add_parser("diff", help="what changed between two (exit 1 if anything did)", formatter_class=raw)
    diff.epilog = "example:\n  graft snapshot diff monday.state friday.state"
    diff.add_argument("first", type=Path)
    diff.add_argument("second", type=Path)
    verify = actions.add_parser(
        "verify", help="checksum, signature, form, golden vectors (exit 1 if one fails)", formatter_class=raw
    )
    verify.epilog = "example:\n  graft snapshot verify eu.snap"
    verify.add_argument("files", nargs="+", type=Path, metavar="FILE")
    for one in (create, merge, show, diff, verify):
        add_config(one)
        add_json(one)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    actions = {"create": _create, "merge": _merge, "show": _show, "diff": _diff, "verify": _verify}
    return actions[args.action](args, settings_of(args), out)


def _create(args: argparse.Namespace, settings: Settings, out: Out) -> int:
    from engine.transfer import distil

    state = load_part(args, settings, out)
    return _written(args.target, distil(state, owner=args.owner, licence=args.licence), settings, out)


def _merge(args: argparse.Namespace, settings: Settings, out: Out) -> int:
    from agents.cli.source import check_source, weights_of
    from agents.recovery import shardfile
    from engine.transfer import merge

    weights = weights_of(args.weight, len(args.files))
    sources = [shardfile.read(path, key=settings.state.key) for path in args.files]
    for path, source in zip(args.files, sources, strict=True):
        check_source(path, source)
    return _written(args.target, merge(sources, weights), settings, out)


def _written(path: Path, source: State, settings: Settings, out: Out) -> int:
    from agents.cli.source import say_card
    from agents.recovery import shardfile

    size = shardfile.write(path, source, key=settings.state.key)
    out.result({"file": str(path), "bytes": size, "manifest": source.manifest})
    out.say(f"{path}: {size:,} bytes")
    say_card(source, out)
    return 0


def load_part(args: argparse.Namespace, settings: Settings, out: Out) -> State:
    """The state that --from or --from-dir and --part name; of several, the one with the most series."""
    from agents.recovery import shardfile
    from engine.errors import ConfigError

    path = args.state or args.from_dir
    if args.state:
        found = shardfile.parts(shardfile.read(args.state, key=settings.state.key))
    else:
        found = {name: state for name, (_, state) in shardfile.newest(args.from_dir, key=settings.state.key).items()}
    if args.part is None and len(found) > 1:
        name = max(found, key=lambda one: (len(shardfile.names_of(found[one])), one))
        out.note(f"{path} holds {len(found)} shards; taking {name}, the largest. --part names another.")
        return found[name]
    name = args.part or next(iter(found), "")
    if name not in found:
        raise ConfigError(f"{path} holds {', '.join(list(found)[:10]) or 'no shard'}, but no {name!r}; see --part.")
    return found[name]


def _show(args: argparse.Namespace, settings: Settings, out: Out) -> int:
    from agents.cli.source import has_card, say_card
    from agents.recovery import shardfile
    from engine.snapshot import describe

    state = shardfile.read(args.file, key=settings.state.key)
    told = describe(state)
    parts = {name: describe(one) for name, one in shardfile.parts(state).items()} if shardfile.is_many(state) else {}
    more = {"card": state.manifest["card"]} if has_card(state) else {}
    out.result({"file": str(args.file), **told, **({"parts": parts} if parts else {}), **more})
    out.say(f"{args.file}: {told['kind']}, {told['bytes']:,} bytes in {len(told['arrays'])} arrays")
    if has_card(state):
        say_card(state, out)
        if not args.arrays:
            return 0
    else:
        _say_manifest(told["manifest"], out)
    for name, one in list(parts.items())[:50]:
        out.say(f"part {name}: {one['bytes']:,} bytes")
    shown = told["arrays"] if args.arrays else told["arrays"][:8]
    out.say()
    out.table(
        [(one["name"], one["dtype"], _form(one["shape"]), one["bytes"]) for one in shown],
        ("array", "type", "shape", "bytes"),
    )
    if len(shown) < len(told["arrays"]):
        out.say(f"... and {len(told['arrays']) - len(shown)} smaller ones; --arrays lists all")
    return 0


def _diff(args: argparse.Namespace, settings: Settings, out: Out) -> int:
    from agents.recovery import shardfile
    from engine.snapshot import diff

    first, second = (shardfile.read(path, key=settings.state.key) for path in (args.first, args.second))
    bits = diff(first, second)
    lines = _words(first, second) or bits
    told = {"first": str(args.first), "second": str(args.second), "equal": not bits, "differences": lines}
    out.result(told | ({"bits": bits} if lines is not bits else {}))
    for line in lines or ["equal, bit for bit"]:
        out.say(line)
    return 1 if bits else 0


def _words(first: State, second: State) -> list[str]:
    """What changed, if both are sources of a form that is known here; else nothing."""
    from agents.cli.source import has_card
    from engine.transfer.words import words

    return words(first, second) if has_card(first) and has_card(second) else []


def _verify(args: argparse.Namespace, settings: Settings, out: Out) -> int:
    from agents.cli.source import check_source
    from agents.recovery import shardfile
    from engine.errors import GraftError
    from engine.snapshot import read_header

    results: list[dict[str, Any]] = []
    for path in args.files:
        one: dict[str, Any] = {"file": str(path), "ok": False}
        try:
            state = shardfile.read(path, key=settings.state.key)
            shardfile.parts(state)
            check_source(path, state)
            with path.open("rb") as file:
                one |= {"ok": True, "kind": state.manifest.get("kind"), "signed": read_header(file.read()).signed}
        except GraftError as error:
            one["because"] = str(error)
        results.append(one)
        out.say(f"{'ok  ' if one['ok'] else 'BAD '} {one.get('because') or _verified(one)}")
    good = all(one["ok"] for one in results)
    out.result({"ok": good, "files": results})
    return 0 if good else 1


def _verified(one: dict[str, Any]) -> str:
    card = "; card, golden vectors and edge cases hold" if one["kind"] == "source" else ""
    return f"{one['file']}: {one['kind']}, whole{', signed' if one['signed'] else ''}{card}"


def _say_manifest(manifest: dict[str, Any], out: Out) -> None:
    for key, value in manifest.items():
        if isinstance(value, (str, int, float, bool)) or value is None:
            out.say(f"  {key:<20} {value}")
        else:
            out.say(f"  {key:<20} {len(value)} entries")


def _form(shape: list[int]) -> str:
    return " x ".join(map(str, shape)) or "one"
