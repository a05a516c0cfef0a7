# SPDX-License-Identifier: Apache-2.0
"""Requests to an engine in this process."""

import importlib.util
import queue

import msgspec

from llm_ensemble.contract.sampling import Sampling
from llm_ensemble.engines.kinds import load_engine, read_engine_settings
from llm_ensemble.engines.protocol import GenerationRequest
from llm_ensemble.manifest import read_manifest
from llm_ensemble.settings import Settings
from tests.waiting import SECONDS

# The engine kinds of this environment.
KINDS = ["vllm"] if importlib.util.find_spec("vllm") else ["openvino", "tensorrt_llm"]
PROMPT = [0, 300, 400, 500, 600]


def changed(struct, **changes):
    return msgspec.structs.replace(struct, **changes)


def loaded(engine_dir, manifest=None, max_waiting=256, **settings):
    """Load the engine of a directory with the engine's settings of the environment."""
    manifest = manifest or read_manifest(engine_dir)
    engine = read_engine_settings(manifest.engine)
    return load_engine(manifest, Settings(engine_dir, max_waiting, engine=engine, **settings))


class Submitted:
    """A request and its tokens. By default it has no end tokens, so it ends with max_tokens."""

    def __init__(self, engine, stream_id, input_ids=None, **sampling):
        self._received = queue.Queue()
        sampling = Sampling(**{"max_tokens": 20, **sampling})
        self._sequences = sampling.num_return_sequences
        engine.submit(GenerationRequest(stream_id, input_ids or PROMPT, sampling), self._received.put)

    def next(self):
        return self._received.get(timeout=SECONDS)

    def rest(self):
        """Return everything until the end of the last sequence."""
        received, to_end = [], set(range(self._sequences))
        while to_end:
            received.append(tokens := self.next())
            if tokens.finish:
                to_end.remove(tokens.index)
            if tokens.error or tokens.finish == "cancelled":
                to_end.clear()
        assert self._received.empty(), "something came after the end"
        return received

    def ids(self):
        return [token for tokens in self.rest() for token in tokens.token_ids]

    def sequences(self):
        """Return the ids of each sequence."""
        ids = [[] for _ in range(self._sequences)]
        for tokens in self.rest():
            ids[tokens.index] += tokens.token_ids
        return ids


def longest_run(ids):
    """Return the count of the most frequent token."""
    return max(ids.count(token) for token in ids)
