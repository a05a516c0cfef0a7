# SPDX-License-Identifier: Apache-2.0
"""The page at /: a browser talks to the model with it."""
