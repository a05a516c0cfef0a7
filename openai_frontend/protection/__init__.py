# SPDX-License-Identifier: Apache-2.0
"""What stands between clients and the API: keys, CORS, limits. ASGI middlewares and uvicorn's protocol."""
