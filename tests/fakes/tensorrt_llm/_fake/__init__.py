# SPDX-License-Identifier: Apache-2.0
"""The implementation of the fake. Tests import the public package, as of the real one."""
