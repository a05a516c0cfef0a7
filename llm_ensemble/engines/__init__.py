# SPDX-License-Identifier: Apache-2.0
"""The engines, one a file, behind the protocol in base.py."""
