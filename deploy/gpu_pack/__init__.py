# SPDX-License-Identifier: Apache-2.0
"""A pack for a GPU machine that has no network: made by __main__.py, put up there by unpack.py."""
