# SPDX-License-Identifier: Apache-2.0
"""File names that shells, linkers, make or a Python without a locale may misread."""

import os

# One name of each kind, since a server is started for each. Bytes, as the kernel has them.
ODD_NAMES = {
    "utf-8": "-odd 'name\" $x;&|`<(*?[~#%=\\:,ü漢\n.".encode(),
    "not utf-8": b"\xff \xe4",
}


def odd(kind):
    """Return the name of that kind as a str."""
    return os.fsdecode(ODD_NAMES[kind])
