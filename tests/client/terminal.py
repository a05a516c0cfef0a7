# SPDX-License-Identifier: Apache-2.0
"""A pseudo-terminal for a process to write to."""

import os
import pty


class Terminal:
    """`end` is for the process; `shown` reads what it wrote once it has ended."""

    def __enter__(self):
        self._ours, self.end = pty.openpty()
        self._is_open = True
        return self

    def shown(self):
        """Return all that was written; close the end here, since reading ends once nobody has it."""
        self._close_end()
        read = b""
        try:
            while more := os.read(self._ours, 10_000):
                read += more
        except OSError:  # EIO is how Linux says that nobody writes any more
            pass
        return read.decode()

    def _close_end(self):
        if self._is_open:
            os.close(self.end)
        self._is_open = False

    def __exit__(self, *_):
        self._close_end()
        os.close(self._ours)
