# SPDX-License-Identifier: Apache-2.0
"""Commands around a server: the demo and the image's entrypoint."""
