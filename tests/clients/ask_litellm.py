# SPDX-License-Identifier: Apache-2.0
"""litellm's triton provider, run in .venv-clients. Prints its texts as JSON."""

import asyncio
import json
import sys

import litellm

HTTP, PROMPT = sys.argv[1:]
ASKED = {
    "model": "triton/ensemble",
    "api_base": f"http://{HTTP}/v2/models/ensemble/generate",
    "messages": [{"role": "user", "content": PROMPT}],
    "max_tokens": 8,
}


async def asynchronous():
    return (await litellm.acompletion(**ASKED)).choices[0].message.content


pieces = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**ASKED, stream=True)]
sys.stdout.write(
    json.dumps(
        {
            "completion": litellm.completion(**ASKED).choices[0].message.content,
            "stream": "".join(pieces),
            "acompletion": asyncio.run(asynchronous()),
        }
    )
)
