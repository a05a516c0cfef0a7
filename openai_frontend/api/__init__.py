# SPDX-License-Identifier: Apache-2.0
"""The routes, with the types of their requests and answers."""
