"""Keys in a patch, which is kept beside a run and goes to Weights & Biases with it."""

import contextlib
import functools
import netrc
import os
import re
from collections.abc import Callable, Iterable

import dotenv

LEFT_OUT = "(a line with a key or password was left out here)"

_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)  # of variables that hold keys
_FORMS = re.compile(
    r"\bwandb_v\d+_\w{20}|\bhf_\w{30}|\bAIza[\w-]{35}|\bBearer\s+[\w.~+/=-]{16}"
    r"|(wandb|key|token|login).*\b[0-9a-f]{40}\b"
    r"|(key|token|secret|password|passwd)[\"']?\]?\s*[:=]\s*([\"'])[^\"'\s]{16,}\3",
    re.IGNORECASE,
)
_SETTING = re.compile(r"\s*[\w.-]*(key|token|secret|password|passwd)\s*[:=]\s*\S{8,}\s*$", re.IGNORECASE)
_SETTINGS = (".cfg", ".conf", ".env", ".ini", ".json", ".sh", ".toml", ".yaml", ".yml")
_BLOCK = re.compile(rb"-----(BEGIN|END) [A-Z ]*PRIVATE KEY( BLOCK)?-----")
# These take any word of enough letters, or any address, for a secret.
_TOO_EAGER = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}


def known_keys() -> set[str]:
    """Values of variables and of lines of `.env` that are keys by their names, and passwords of ~/.netrc."""
    variables: list[tuple[str, str | None]] = list(os.environ.items())
    with contextlib.suppress(OSError, UnicodeDecodeError):
        variables += dotenv.dotenv_values(".env", interpolate=False).items()
    keys = [value for name, value in variables if _NAMES.search(name)]
    with contextlib.suppress(OSError, RuntimeError, netrc.NetrcParseError, UnicodeDecodeError):
        keys += [password for _, _, password in netrc.netrc(os.environ.get("NETRC")).hosts.values()]
    return {key for key in keys if key and len(key) >= 8}


def redact(patch: bytes, keys: Iterable[str]) -> tuple[bytes, list[str]]:
    """A patch of git without the lines that have a key or password, and without files that are no text.

    keys: such that are known. Others are found by their forms, and by detect-secrets
    (https://github.com/Yelp/detect-secrets).
    Returns: the patch, with a remark in the place of each such line, and the files that lack something.
    """
    # Imported here, since a run of a clean tree needs none of it.
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import default_settings

    known, lacking = [key.encode() for key in keys], set()

    def has_key(content: bytes, name: str) -> bool:
        text = content.decode(errors="replace")
        setting = name.endswith(_SETTINGS) and _SETTING.match(text)
        return bool(
            any(key in content for key in known) or _FORMS.search(text) or setting or any(scan_line(text))
        )

    parts = re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE)  # one for each file
    with default_settings() as settings:
        settings.disable_plugins(*_TOO_EAGER)
        settings.disable_filters("detect_secrets.filters.allowlist.is_line_allowlisted")
        for place, part in enumerate(parts):
            name = part.partition(b"\n")[0].rpartition(b" b/")[2].decode(errors="replace")
            is_text = not re.search(rb"^GIT binary patch$", part, re.MULTILINE)
            parts[place] = _without_keys(part, functools.partial(has_key, name=name)) if is_text else b""
            if not is_text or LEFT_OUT.encode() in parts[place]:
                lacking.add(name)
    return b"".join(parts), sorted(lacking)


def _without_keys(part: bytes, has_key: Callable[[bytes], bool]) -> bytes:
    """The patch of a file, with a remark in the place of each line that has a key, and of a private key."""
    lines, in_hunk, in_block = part.split(b"\n"), False, False
    for place, line in enumerate(lines):
        if line.startswith(b"@@ "):  # git puts a line of the file behind it, which nobody needs
            in_hunk, lines[place] = True, re.sub(rb"^(@@ [^@]*@@).*", rb"\1", line)
        elif in_hunk and line[:1] in (b"+", b"-", b" "):
            edges = _BLOCK.findall(line)
            if in_block or edges or has_key(line[1:]):
                lines[place] = line[:1] + LEFT_OUT.encode()
            in_block = edges[-1][0] == b"BEGIN" if edges else in_block
    return b"\n".join(lines)
