# SPDX-License-Identifier: Apache-2.0
"""One request of OpenAI's API as requests of the ensemble, and what comes of them as an answer."""
