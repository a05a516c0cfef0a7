# SPDX-License-Identifier: Apache-2.0
"""An engine kind outside of llm_ensemble: vLLM with weights of no meaning, made when it loads."""
