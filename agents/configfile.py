"""From a TOML file and the environment to typed structs, with the origin of every value.

Owns: reading, `GRAFT__SECTION__KEY` overrides, `${env:X}` and `${file:PATH}`, the nearest known key of an unknown one.
Knows nothing of what the keys mean (settings.py does) and reads the environment only from the mapping it is given.

Not obvious: a value that came through a reference is remembered as hidden, whatever its type, so that `graft check`
can print the whole configuration and never a secret.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from agents.secret import Secret
from engine.errors import ConfigError

PREFIX = "GRAFT__"
_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_ASSIGNMENT = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")
#: A secret file larger than this is a wrong path, not a secret.
_LARGEST_SECRET_BYTES = 64 * 1024

Struct = TypeVar("Struct", bound=msgspec.Struct)


class Origin(NamedTuple):
    """Where a value came from, for people; hidden when it must not be printed."""

    text: str
    hidden: bool = False


class Document(NamedTuple):
    """Plain values as they were written, and the origin of each dotted key that was written."""

    values: dict[str, Any]
    origins: dict[str, Origin]


def read(path: Path | None, kind: type[Struct], *, env: Mapping[str, str]) -> tuple[Struct, dict[str, Origin]]:
    """The typed settings and the origin of every key that is not a default. ConfigError with one sentence otherwise."""
    document = parse(path.name, _text_of(path)) if path is not None else Document({}, {})
    override(document, kind, env)
    where = str(path) if path is not None else "the environment"
    refuse_unknown(document.values, kind, "", where)
    resolved = resolve(document, env)
    return convert(resolved, kind, where), document.origins


def parse(name: str, text: str) -> Document:
    """TOML to a document; the origin of each key is `name:line`."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not TOML: {error}.") from None
    lines = _lines(text)
    origins = {key: Origin(_place(name, key, lines)) for key in leaves(values)}
    return Document(values, origins)


def leaves(values: Mapping[str, Any] | list[Any], prefix: str = "") -> list[str]:
    """Dotted keys of all plain values; entries of a list of tables are counted, `sinks.0.url`.

    >>> leaves({"kafka": {"group": "g"}, "sinks": [{"url": "u"}]})
    ['kafka.group', 'sinks.0.url']
    """
    found: list[str] = []
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in pairs:
        path = f"{prefix}{key}"
        inner = isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping))
        found += leaves(value, path + ".") if inner else [path]
    return found


def override(document: Document, kind: type[msgspec.Struct], env: Mapping[str, str]) -> None:
    """Lay the `GRAFT__SECTION__KEY` variables over the document, in the order of their names."""
    for name in sorted(env):
        if name.startswith(PREFIX):
            path = [part.lower() for part in name[len(PREFIX) :].split("__")]
            _set(document, kind, path, name, env[name])


def _set(document: Document, kind: type[msgspec.Struct], path: list[str], name: str, raw: str) -> None:
    here: Any = document.values
    wanted: Any = kind
    for depth, part in enumerate(path):
        outer, wanted = wanted, _inner(wanted, part, here)
        if wanted is None:
            dotted = "".join(f"{one}." for one in path[:depth])
            near = _nearest(part, _fields(outer, here), dotted)
            raise ConfigError(f"{name} names no setting: unknown key {dotted}{part}; {near}")
        if get_origin(wanted) is dict:  # free keys: librdkafka's have dots where a variable can only have underscores
            key = "__".join(path[depth + 1 :]).replace("_", ".")
            _put(here.setdefault(part, {}), key, _plain(raw), name)
            document.origins[".".join([*path[: depth + 1], key])] = Origin(f"env {name}")
            return
        if depth == len(path) - 1:
            _put(here, part, raw if _is_text(wanted) else _plain(raw), name)
            document.origins[".".join(path)] = Origin(f"env {name}")
            return
        here = _step(here, part, wanted, name)


def _put(here: Any, part: str, value: Any, name: str) -> None:
    if isinstance(here, list) or not part:
        raise ConfigError(f"{name} names a whole table; name one of its keys.")
    here[part] = value


def _step(here: Any, part: str, wanted: Any, name: str) -> Any:
    if not isinstance(here, list):
        return here.setdefault(part, [] if get_origin(wanted) in (list, tuple) else {})
    index = int(part)
    if index > len(here):
        raise ConfigError(f"{name} has number {index}, but the next free number is {len(here)}.")
    if index == len(here):
        here.append({})
    return here[index]


def _inner(wanted: Any, part: str, here: Any) -> Any:
    """The type of `part` inside the type `wanted`; None when there is no such key."""
    if get_origin(wanted) in (list, tuple):
        return get_args(wanted)[0] if part.isdigit() else None
    fields = _fields(wanted, here)
    return fields.get(part)


def _fields(wanted: Any, values: Any) -> dict[str, Any]:
    """Keys and types of a struct; of a union of structs, those of the one that `kind` picks."""
    structs = [one for one in _structs(wanted) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    if len(structs) > 1 and isinstance(values, Mapping):
        structs = [one for one in structs if one.__struct_config__.tag == values.get("kind")] or structs
    found: dict[str, Any] = {}
    for one in structs:
        field = one.__struct_config__.tag_field
        found |= {field: str} if field else {}
        found |= {inner.encode_name: inner.type for inner in msgspec.structs.fields(one)}
    return found


def _structs(wanted: Any) -> tuple[Any, ...]:
    return get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)


def _is_text(wanted: Any) -> bool:
    return all(one in (str, NoneType, Secret) for one in _structs(wanted))


def _plain(raw: str) -> Any:
    """A variable's text as TOML would read it; text that is no TOML value stays text."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return raw


def refuse_unknown(values: Any, wanted: Any, path: str, where: str) -> None:
    """ConfigError for the first key that no struct has, with the nearest one that there is."""
    if isinstance(values, list) and get_origin(wanted) in (list, tuple):
        for index, value in enumerate(values):
            refuse_unknown(value, get_args(wanted)[0], f"{path}{index}.", where)
    if not isinstance(values, Mapping) or not (fields := _fields(wanted, values)):
        return
    _refuse_kind(values, wanted, path, where)
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {path}{key}; {_nearest(key, fields, path)}")
        refuse_unknown(value, fields[key], f"{path}{key}.", where)


def _refuse_kind(values: Mapping[str, Any], wanted: Any, path: str, where: str) -> None:
    """ConfigError when the table picks a struct of a union that does not exist, or none."""
    tags = {str(one.__struct_config__.tag): one for one in _structs(wanted) if hasattr(one, "__struct_config__")}
    if len(tags) > 1 and values.get("kind") not in tags:
        given = f"is {values['kind']!r}" if "kind" in values else "is missing"
        raise ConfigError(f"{where}: {path}kind {given}; it must be one of {', '.join(sorted(tags))}.")


def _nearest(key: str, known: Mapping[str, Any], path: str) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {path}{close[0]}?"
    return f"known here: {', '.join(sorted(known)) or 'nothing'}."


def resolve(document: Document, env: Mapping[str, str]) -> Any:
    """The values with each `${env:X}` and `${file:PATH}` replaced; such keys become hidden in the origins."""

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {inner: walk(one, f"{key}.{inner}" if key else str(inner)) for inner, one in value.items()}
        if isinstance(value, list):
            return [walk(one, f"{key}.{index}") for index, one in enumerate(value)]
        if not isinstance(value, str) or not _REFERENCE.search(value):
            return value
        written = document.origins.get(key, Origin("?")).text
        document.origins[key] = Origin(f"{written} {value}" if _REFERENCE.fullmatch(value) else written, hidden=True)
        return Resolved(_REFERENCE.sub(lambda match: _fetch(match[1], match[2], key, env), value))

    return walk(document.values, "")


def secret(text: str, where: str, env: Mapping[str, str]) -> Secret:
    """The secret that a reference names; ConfigError for anything else, so that none is written on a command line."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where} is no reference; write ${{env:NAME}} or ${{file:PATH}}, never the secret itself.")
    return Secret(_fetch(match[1], match[2], where, env))


class Resolved(str):
    """Text that came through a reference. A secret may only be one of these, never text written in the file."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


def _fetch(kind: str, name: str, key: str, env: Mapping[str, str]) -> str:
    if kind == "env":
        if name not in env:
            raise ConfigError(f"{key} wants the environment variable {name}, which is not set; export it.")
        return env[name]
    try:
        with Path(name).open("rb") as file:
            data = file.read(_LARGEST_SECRET_BYTES + 1)
        if len(data) > _LARGEST_SECRET_BYTES:
            raise ConfigError(f"{key}: {name} is larger than {_LARGEST_SECRET_BYTES} bytes; that is no secret.")
        return data.decode().rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{key} wants the file {name}, which cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {name} is not UTF-8 text.") from None


def convert(values: Any, kind: type[Struct], where: str) -> Struct:
    """Plain values to structs, strictly."""
    try:
        return msgspec.convert(values, kind, strict=True, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_readable(str(error))}") from None


def _decode(wanted: type, value: Any) -> Any:
    if wanted is not Secret:
        raise NotImplementedError(f"no decoder for {wanted}")
    if not isinstance(value, Resolved):
        raise ValueError("A secret must not be written here; write ${env:NAME} or ${file:PATH}")  # noqa: TRY004 - msgspec adds the key to a ValueError
    return Secret(str(value))


def _readable(text: str) -> str:
    """What msgspec says, as one sentence that begins with the key.

    >>> _readable("Expected `int`, got `str` - at `$.state.x`")
    'state.x: expected int, got str.'
    """
    message, _, path = text.partition(" - at ")
    path = re.sub(r"\[(\d+)\]", r".\1", path.strip("`").removeprefix("$").lstrip("."))
    message = message.replace("`", "").rstrip(".")
    if not path:
        return f"{message}."
    ours = message[0].islower()  # a rule of settings.py; those begin with the key
    return f"{path}.{message}." if ours else f"{path}: {message[0].lower()}{message[1:]}."


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Name a TOML file with -c.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text; a configuration is a TOML file.") from None


def _lines(text: str) -> dict[str, int]:
    """Line of each `key =`, by dotted key; good enough for files as people write them, silent about the rest."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    prefix = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            prefix = _bare(header[2]) + "."
            if header[1] == "[[":
                counts[prefix] = counts.get(prefix, -1) + 1
                prefix = f"{prefix}{counts[prefix]}."
        elif assignment := _ASSIGNMENT.match(line):
            found.setdefault(prefix + _bare(assignment[1]), number)
    return found


def _bare(key: str) -> str:
    return key.replace('"', "").replace("'", "").strip()


def _place(name: str, key: str, lines: Mapping[str, int]) -> str:
    """`name:line` of a key, or of the inline table that holds it."""
    while key:
        if key in lines:
            return f"{name}:{lines[key]}"
        key = key.rpartition(".")[0]
    return name
