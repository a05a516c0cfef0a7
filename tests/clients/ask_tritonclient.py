# SPDX-License-Identifier: Apache-2.0
"""tritonclient in its four kinds, run in .venv-clients. Prints {kind: text} as JSON."""

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aio
import tritonclient.http as httpclient
import tritonclient.http.aio as http_aio

HTTP, GRPC, PROMPT = sys.argv[1:]
FIELDS = {
    "text_input": np.array([[PROMPT.encode()]], dtype=object),
    "max_tokens": np.array([[8]], dtype=np.int32),
}
DATATYPES = {"text_input": "BYTES", "max_tokens": "INT32", "stream": "BOOL"}


def inputs(client, **more):
    made = []
    for name, array in {**FIELDS, **more}.items():
        one = client.InferInput(name, list(array.shape), DATATYPES[name])
        one.set_data_from_numpy(array)
        made.append(one)
    return made


def text(result):
    return result.as_numpy("text_output")[0].decode()


def stream():
    answers = queue.Queue()
    with grpcclient.InferenceServerClient(GRPC) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        more = {"stream": np.array([[True]])}
        client.async_stream_infer("ensemble", inputs(grpcclient, **more), enable_empty_final_response=True)
        texts = []
        while True:
            result, error = answers.get(timeout=60)
            if error:
                raise error
            if result.get_response().outputs:
                texts.append(text(result))
            if result.get_response().parameters["triton_final_response"].bool_param:
                return "".join(texts)


async def asynchronous():
    async with aio.InferenceServerClient(GRPC) as client:
        over_grpc = text(await client.infer("ensemble_unary", inputs(aio)))
    async with http_aio.InferenceServerClient(HTTP) as client:
        over_http = text(await client.infer("ensemble_unary", inputs(http_aio)))
    return {"grpc.aio": over_grpc, "http.aio": over_http}


def main():
    with httpclient.InferenceServerClient(HTTP) as client:
        over_http = text(client.infer("ensemble_unary", inputs(httpclient)))
        packed = text(
            client.infer("ensemble_unary", inputs(httpclient), request_compression_algorithm="gzip")
        )
    with grpcclient.InferenceServerClient(GRPC) as client:
        over_grpc = text(client.infer("ensemble_unary", inputs(grpcclient)))
    texts = {"http": over_http, "http gzip": packed, "grpc": over_grpc, "grpc stream": stream()}
    sys.stdout.write(json.dumps({**texts, **asyncio.run(asynchronous())}))


main()
