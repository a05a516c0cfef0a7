# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802 the names that http.server and gRPC look for
"""A small server, HTTP or gRPC, that counts requests: it rejects the first ones and responds to the rest."""

import concurrent.futures
import contextlib
import http.server
import json
import struct
import threading

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from tests.waiting import SECONDS

REFUSAL = "Exceeds maximum queue size: 4 running, 4 waiting; try again later"
ANSWER = {"text_output": "yes", "finish_reason": "stop", "num_input_tokens": 1, "num_output_tokens": 1}
EMPTY = {**ANSWER, "text_output": "", "finish_reason": "", "num_output_tokens": 0}  # a stream that waits


class Asked:
    """The requests so far, and how many are rejected, and how."""

    def __init__(self, refusals, how):
        self.times, self.refusals, self.how = 0, refusals, how
        self.bodies = []  # of what came over HTTP
        self.has_piece = threading.Event()  # that the client has read a first piece: then the connection ends

    def refuses(self):
        self.times += 1
        return self.times <= self.refusals


@contextlib.contextmanager
def http_server(asked):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            streamed = self.path.endswith("generate_stream")
            if not asked.refuses():
                self.answer(200, event(ANSWER) if streamed else infer_answer())
            elif asked.how == "words":
                body = json.dumps({"error": REFUSAL}).encode()
                self.answer(400 if streamed else 503, body)
            elif asked.how == "after empty responses":
                self.answer(200, event(EMPTY) * 2)
            elif asked.how in ("after a piece", "a long answer"):
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(event({**ANSWER, "finish_reason": ""}))
                self.wfile.flush()
                if asked.how == "after a piece":
                    asked.has_piece.wait(SECONDS)
                else:
                    self.connection.settimeout(SECONDS)
                    self.rfile.read(1)  # until the client closes the connection

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def event(values):
    return b"data: " + json.dumps(values).encode() + b"\n\n"


def infer_answer():
    outputs = [{"name": name, "data": [value]} for name, value in ANSWER.items()]
    return json.dumps({"outputs": outputs}).encode()


@contextlib.contextmanager
def grpc_server(asked, metadata=None):
    """metadata: a list that gets each stream's."""

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelInfer(self, request, context):
            if asked.refuses():
                refuse(context)
            return message(ANSWER)

        def ModelStreamInfer(self, requests, context):
            for _ in requests:  # an answer before it is sent makes grpc.aio fail the call by itself
                pass
            if metadata is not None:
                metadata.append(dict(context.invocation_metadata()))
            if asked.refuses():
                if asked.how == "after a piece":
                    yield pb.ModelStreamInferResponse(infer_response=message({**ANSWER, "finish_reason": ""}))
                    asked.has_piece.wait(SECONDS)
                if asked.how == "after empty responses":
                    for _ in range(2):
                        yield pb.ModelStreamInferResponse(infer_response=message(EMPTY))
                refuse(context)
            yield pb.ModelStreamInferResponse(infer_response=message(ANSWER))

    def refuse(context):
        words = REFUSAL if asked.how == "words" else "Socket closed"
        context.abort(grpc.StatusCode.UNAVAILABLE, words)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"grpc://127.0.0.1:{port}"
    server.stop(None).wait()


def message(values):
    answer = pb.ModelInferResponse()
    for name, value in values.items():
        is_text = isinstance(value, str)
        answer.outputs.add(name=name, datatype="BYTES" if is_text else "INT32", shape=[1, 1])
        raw = value.encode() if is_text else struct.pack("<i", value)
        packed = struct.pack("<I", len(raw)) + raw if is_text else raw
        answer.raw_output_contents.append(packed)
    return answer


SERVERS = {"http": http_server, "grpc": grpc_server}
