"""Folders that code is run from: who could put other code there.

As sshd asks of a key: every folder on the way, up to /, belongs to root or to the user,
and nobody else can write to it. A sticky folder such as /tmp may be writable, as there
nobody can rename what belongs to others.
"""

import grp
import os
import pwd
import shlex
import stat
from pathlib import Path

from pipeline.errors import InputError

UNMAPPED = 65534  # who owns, inside a container of a user, what the user does not


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner can write to, as code is run from it.

    New folders on the way are closed to others' writing whatever the umask is.

    Raises:
        InputError: somebody else can write to the folder, or replace it or a folder on
            the way; the message names that folder, and the command that closes it.
    """
    for missing in reversed([path for path in folder.parents if not path.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(missing.stat().st_mode & ~0o022)
    folder.mkdir(exist_ok=True, mode=0o700)
    facts = folder.stat()
    if facts.st_mode & 0o022 or facts.st_uid != os.getuid():
        raise InputError(
            f"{folder}: others can write to it, and code is run from it; run chmod 700"
            f" {shlex.quote(str(folder))}"
        )
    refuse_open_way(folder)
    return folder


def refuse_open_way(folder: Path) -> None:
    """Refuse a folder that somebody else can replace.

    Raises:
        InputError: a folder on the way to it is not only the user's; the first from /
            is named.
    """
    for place in sorted(_way(folder)):
        facts = place.lstat()
        name = shlex.quote(str(place))
        if facts.st_uid not in _owners():
            raise InputError(
                f"{place}: belongs to {_name_of(facts.st_uid)}, who can replace {folder}, and code"
                " is run from there; choose a folder of your own (--root, XDG_CACHE_HOME)"
            )
        if _is_open(facts):
            raise InputError(
                f"{place}: others can write to it and so replace {folder}, and code is run from"
                f" there; run chmod go-w {name}, or chmod +t {name} where others must write to it"
            )


def _way(folder: Path) -> set[Path]:
    """Return a folder, and all folders on the way, with links and their targets."""
    ways, todo = set[Path](), [folder.absolute()]
    while todo:
        end = todo.pop()
        for place in {end, *end.parents} - ways:
            ways.add(place)
            if place.is_symlink():
                todo.append(place.parent / place.readlink())
    return ways


def _owners() -> set[int]:
    owners = {0, os.getuid()}
    # in a container of a user the machine's root is not known by its number
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        owners.add(UNMAPPED)
    return owners


def _is_open(facts: os.stat_result) -> bool:
    """Return whether others can rename what lies in a folder."""
    if stat.S_ISLNK(facts.st_mode) or facts.st_mode & stat.S_ISVTX:
        return False
    if facts.st_mode & stat.S_IWOTH:
        return True
    return bool(facts.st_mode & stat.S_IWGRP) and not _is_of_one(facts.st_gid)


def _is_of_one(number: int) -> bool:
    """Return whether a group is the user's own, as many systems give each user one.

    Its name is the user's name, and it has no other member. Root's is none of these.
    """
    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return (
        0 != number == user.pw_gid
        and group.gr_name == user.pw_name
        and set(group.gr_mem) <= {user.pw_name}
    )


def _name_of(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
