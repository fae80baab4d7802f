"""Finds keys and passwords in changed files and printed lines, both of which go to Weights & Biases."""

import contextlib
import functools
import os
import pathlib
import re
import tempfile
import urllib.parse
from collections.abc import Collection, Iterable

from mnist_jax.storage.git import Change
from mnist_jax.system.dotfiles import netrc_passwords, read_env_file
from mnist_jax.system.errors import UserError

_LONGEST = 20_000  # characters of a line that is searched
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)  # of variables with keys
_NAME = r"(?:key|token|secret|password|passwd)"
_FORMS = re.compile(
    # Forms of keys that detect-secrets lacks.
    r"\bwandb_v\d+_\w{20}|\bhf_\w{30}|\bAIza[\w-]{35}|\bya29\.[\w-]{20}|\bBearer\s+[\w.~+/=-]{16}"
    r"|\bgithub_pat_\w{20}|\bsk-[\w-]{20}|\b(?:dckr_pat|nvapi|gsk|r8)[_-]\w{20}|\bAGE-SECRET-KEY-"
    r"|-----(?:BEGIN|END) [A-Z ]*PRIVATE KEY"
    # W&B's older kind, after a word that names it.
    r"|(?:wandb|key|token|login)(?:.*|\W*)\b[0-9a-f]{40}\b"
    # A string assigned to such a name: `NAME: type = "..."`, `["NAME"] = (` and the string on the next line,
    # `"NAME": "..."`, `f("NAME", "...")`, `NAME = f("...")`.
    rf"|{_NAME}(?:[\"']\s*,|[\"']?\s*\]?\s*(?::[ \t]*[\w.\[\], |\"']{{1,60}}?[ \t]*)?[=:])\s*[(\s\\]*"
    r"(?:[\w.]{1,40}\(\s*(?:\w+=)?)?[rbuf]{0,2}([\"']{1,3})[^\"'\s]{16,}\1",
    re.IGNORECASE,
)
# Forms that detect-secrets knows, for lines that are printed, and values of queries in addresses.
_PRINTED = re.compile(
    r"\bgh[pousr]_\w{30,}|\bglpat-[\w-]{20}|\bxox[abeprs]-[\w-]{10,}|\b[sr]k_live_\w{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{10,}\.[\w-]+\.[\w-]+"
    r"|(?<=[?&])[\w-]*(?:key|password|secret|signature|token)=[^&\s]+",
    re.IGNORECASE,
)
_SETTING = re.compile(
    rf"^\s*(?:export\s+)?[\w.-]*{_NAME}[\"']?\s*[:=]\s*\S{{8,}}\s*$", re.IGNORECASE | re.MULTILINE
)
_SETTINGS = (".cfg", ".conf", ".env", ".ini", ".json", ".sh", ".toml", ".yaml", ".yml")
_FILTERS = ("allowlist.is_line_allowlisted", "heuristic.is_lock_file", "heuristic.is_non_text_file")


def known_keys() -> set[str]:
    """Known keys and passwords.

    They are the values of variables, and of lines of `.env`, that have the name of a key, the passwords in
    their addresses, and those of netrc files.
    """
    variables = list(os.environ.items())
    with contextlib.suppress(UserError):
        variables += read_env_file(pathlib.Path(".env")).values.items()
    keys = {value for name, value in variables if _NAMES.search(name)} | netrc_passwords()
    keys |= {password for _, value in variables if (password := _password(value))}
    return {key for key in keys if len(key) >= 8}


def redacted(text: str, keys: Collection[str]) -> str:
    """Replaces keys, and user names and passwords in addresses, by `[redacted]`.

    Args:
      text: any text, such as a printed line.
      keys: see `known_keys`; other keys are found by their form.
    """
    for key in sorted(keys, key=len, reverse=True):
        text = text.replace(key, "[redacted]")
    text = re.sub(r"(?<=://)[^/\s@]+@", "[redacted]@", text)
    return _PRINTED.sub("[redacted]", _FORMS.sub("[redacted]", text))


def unsafe_files(changes: Iterable[Change], keys: Collection[str]) -> set[str]:
    """The names of changed files that may contain a key or password, in the commit or now, or are not text.

    Keys are found by their form, and by all detectors of detect-secrets
    (https://github.com/Yelp/detect-secrets), in the whole file. A file that cannot be searched is unsafe.

    Args:
      changes: the files.
      keys: known keys.
    """
    # Imported here, since a run of a clean tree does not need it.
    from detect_secrets.settings import default_settings

    known = frozenset(key.encode() for key in keys)
    with default_settings() as settings:
        settings.disable_filters(*(f"detect_secrets.filters.{name}" for name in _FILTERS))
        return {
            change.name
            for change in changes
            if any(side is None or _may_have_key(change.name, side, known) for side in change.sides)
        }


@functools.lru_cache(maxsize=512)  # each member of a population searches the same files
def _may_have_key(name: str, content: bytes, known: frozenset[bytes]) -> bool:
    text = content.decode(errors="replace")
    whole = re.sub(r"([\"'])\s*\1(?=\S)", "", text)  # joins strings in parts, `"..." "..."`
    return bool(
        name.rpartition("/")[2] == ".env"
        or "\0" in text
        or max(map(len, text.splitlines()), default=0) > _LONGEST
        or any(key in content or key in whole.encode() for key in known)
        or _FORMS.search(text)
        or _FORMS.search(whole)
        or (name.endswith(_SETTINGS) and _SETTING.search(text))
        or _detected(pathlib.PurePath(name).suffix, text)
    )


def _detected(suffix: str, text: str) -> bool:
    """Whether detect-secrets finds a key."""
    from detect_secrets.core.scan import scan_file

    with tempfile.TemporaryDirectory() as folder:  # it reads files, and the suffix matters
        path = pathlib.Path(folder) / f"file{suffix if suffix.isascii() else ''}"
        path.write_bytes(text.encode("ascii", "backslashreplace"))  # readable in every locale
        return any(scan_file(str(path)))


def _password(value: str) -> str | None:
    with contextlib.suppress(ValueError):
        return urllib.parse.urlsplit(value).password if "://" in value else None
    return None
