# SPDX-License-Identifier: Apache-2.0
"""HTTP and gRPC, blocking and asyncio."""
