# SPDX-License-Identifier: Apache-2.0
"""LlamaIndex's nvidia_triton, run in .venv-clients. Prints its texts as JSON."""

import json
import sys

from llama_index.llms.nvidia_triton import NvidiaTriton

GRPC, PROMPT = sys.argv[1:]
llm = NvidiaTriton(server_url=GRPC, tokens=9)
whole = llm.complete(PROMPT).text
streamed = "".join(piece.delta for piece in llm.stream_complete(PROMPT))
sys.stdout.write(json.dumps({"complete": whole, "stream_complete": streamed}))
