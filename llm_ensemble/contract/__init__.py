# SPDX-License-Identifier: Apache-2.0
"""Fields, messages and sampling of a request, and the records that travel between stages."""
