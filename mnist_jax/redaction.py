"""Keys in a patch, which is kept beside a run and goes to Weights & Biases with it."""

import re
from collections.abc import Iterable, Mapping

LEFT_OUT = "(a line with a key or password was left out here)"

_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)  # of variables that hold keys
_WANDB = re.compile(r"(?=.*(wandb|key|token|login))(.*\b[0-9a-f]{40}\b|.*\bwandb_v\d+_\w{20})", re.IGNORECASE)
_BLOCK = re.compile(r"-----(BEGIN|END) [A-Z ]*PRIVATE KEY-----")
# These take any word of enough letters, or any address, for a secret.
_TOO_EAGER = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}


def keys_of(environment: Mapping[str, str]) -> set[str]:
    """The values of variables that by their names are keys."""
    return {value for name, value in environment.items() if _NAMES.search(name) and len(value) >= 8}


def redact(patch: bytes, keys: Iterable[str]) -> tuple[bytes, list[str]]:
    """A patch of git without the lines that have a key or password.

    keys: such that are known. Others are found by detect-secrets (https://github.com/Yelp/detect-secrets).
    Returns: the patch, with a remark in the place of each such line, and the files that had them.
    """
    # Imported here, since a run of a clean tree needs none of it.
    from detect_secrets.core.scan import scan_line
    from detect_secrets.settings import default_settings

    known, text = set(keys), []
    files: set[str] = set()
    file, in_hunk, in_block = "", False, False
    with default_settings() as settings:
        settings.disable_plugins(*_TOO_EAGER)
        for line in patch.decode(errors="surrogateescape").split("\n"):
            if line.startswith("diff --git "):
                file, in_hunk, in_block = line.rpartition(" b/")[2], False, False
            elif line.startswith("@@ "):
                in_hunk = True
            elif in_hunk and line[:1] in ("+", "-", " "):
                content, edge = line[1:], _BLOCK.search(line)
                found = in_block or edge or any(key in content for key in known) or _WANDB.match(content)
                in_block = edge[1] == "BEGIN" if edge else in_block
                if found or any(scan_line(content)):
                    line, files = line[0] + LEFT_OUT, files | {file}
            text.append(line)
    return "\n".join(text).encode(errors="surrogateescape"), sorted(files)
