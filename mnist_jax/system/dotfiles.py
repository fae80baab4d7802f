"""The files where users keep keys: `.env` and `.netrc`."""

import contextlib
import io
import netrc
import os
import pathlib
from typing import NamedTuple

from dotenv.parser import parse_stream

from mnist_jax.system.errors import UserError
from mnist_jax.system.files import read_regular

_LARGEST = 1 << 20  # bytes


class EnvFile(NamedTuple):
    """What a file `.env` has. unread: the numbers of the lines that are not NAME=VALUE."""

    values: dict[str, str]
    unread: list[int]


def read_env_file(path: pathlib.Path) -> EnvFile:
    """The content of a file `.env`, where there is one; its values are taken as they are.

    Raises:
      UserError: it cannot be read. The message has nothing of its content.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(
                f"{path} must have at most 1 MB; remove it, or give the variables in the environment"
            )
        text = read_regular(path).decode("utf-8-sig")
    except FileNotFoundError:
        return EnvFile({}, [])
    except UnicodeDecodeError:
        raise UserError(f"{path} must be UTF-8 text; save it as such") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; mend that, or remove it") from None
    values, unread = {}, []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key and (binding.value is None or not binding.key.isidentifier())):
            blank = len(binding.original.string) - len(binding.original.string.lstrip())
            unread.append(binding.original.line + binding.original.string[:blank].count("\n"))
        elif binding.key:
            values[binding.key] = binding.value or ""
    return EnvFile(values, unread)


def netrc_passwords() -> set[str]:
    """The passwords in $NETRC, or in ~/.netrc and ~/_netrc."""
    given, home, found = os.environ.get("NETRC"), pathlib.Path.home(), set()
    for path in [pathlib.Path(given).expanduser()] if given else [home / ".netrc", home / "_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            if path.is_file() and path.stat().st_size <= _LARGEST:
                found |= {password or "" for _, _, password in netrc.netrc(path).hosts.values()}
    return found
