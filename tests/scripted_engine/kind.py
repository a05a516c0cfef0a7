# SPDX-License-Identifier: Apache-2.0
"""The engine kind of the scripted engine.

The script is JSON in the environment's SCRIPT: texts by a word. The word that comes last in a prompt, whose
special tokens count as text, decides what is said.
"""

import json
import os
import queue
import threading
import time

from jsonschema_rs import is_valid

from llm_ensemble.engines.kind import EngineKind
from llm_ensemble.engines.protocol import EngineStats, Tokens
from llm_ensemble.engines.scheduler import Scheduler
from llm_ensemble.errors import RequestError
from llm_ensemble.preprocessing.preprocessor import load_tokenizer

TOKEN_SECONDS = 0.002  # so that a stream has pieces
NAME = "tests.scripted_engine"


class ScriptedEngine:
    """One thread that says what the script has, a token at a time."""

    failed = False

    def __init__(self, manifest, max_waiting, tokenizer, script):
        self._tokenizer, self._script = tokenizer, script
        self._scheduler = Scheduler(manifest.limits.max_batch_size, max_waiting, self._scheduler_aborts)
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def submit(self, request, on_tokens):
        guide = request.sampling.guide
        if guide and not is_valid(json.loads(guide.text), json.loads(self._said(request))):
            raise RequestError(guide.field, "the script's answer does not fit the guide")
        self._scheduler.add(request, on_tokens)
        self._calls.put(None)

    def abort(self, stream_id):
        self._scheduler.abort(stream_id)

    def stats(self):
        return EngineStats(*self._scheduler.load, 0.0)

    def close(self):
        self._scheduler.close()
        self._calls.put(None)
        self._thread.join()

    def _scheduler_aborts(self, active):
        self._scheduler.finish(active)

    def _said(self, request):
        prompt = self._tokenizer.decode(request.input_ids, skip_special_tokens=False)
        return self._script[max(self._script, key=prompt.rfind)]

    def _run(self):
        while not self._scheduler.closed:
            self._calls.get()
            while active := self._scheduler.schedule():
                self._say(active)

    def _say(self, active):
        ids = self._tokenizer.encode(self._said(active.request), add_special_tokens=False).ids
        limit = active.request.sampling.max_tokens
        for one in ids[:limit]:
            self._scheduler.deliver(active, [Tokens([one])])
            time.sleep(TOKEN_SECONDS)
        self._scheduler.deliver(active, [Tokens([], "length" if len(ids) > limit else "stop")])


def load(manifest, settings, instance):
    tokenizer = load_tokenizer(settings.engine_dir)
    return ScriptedEngine(manifest, settings.max_waiting, tokenizer, json.loads(os.environ["SCRIPT"]))


KIND = EngineKind(NAME, "tests", "run it in a clone", lambda *_: (), load)
