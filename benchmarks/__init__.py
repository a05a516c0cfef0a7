# SPDX-License-Identifier: Apache-2.0
"""What measures: a server, an engine, and the path around one."""
