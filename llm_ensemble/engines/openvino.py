# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI's ContinuousBatchingPipeline as an engine: any CPU, in-flight batching, paged KV cache.

Facts seen on openvino-genai 2026.4.1, which the code rests on:
- a handle that is dropped drops its request, so open handles are kept;
- a read after each step gives that step's ids; an end token comes as the last id, with finish STOP;
- cancel() takes effect in the next step, which must be run for it, and may leave an empty read behind;
- a request that does not fit the KV cache ends with status IGNORED and nothing to read;
- max_num_seqs does not bound the batch when prompts are split (dynamic_split_fuse, the default): 37
  requests ran with 32 allowed. So who runs and who waits is decided here;
- step() holds the GIL, so the thread that steps must let others in between steps.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import threading
import time
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm_ensemble.engines.base import EngineStats, GenerationRequest, OnTokens, Tokens
from llm_ensemble.errors import EngineDirectoryError, EngineError, Overloaded
from llm_ensemble.manifest import ENGINE, Manifest

log = logging.getLogger(__name__)

BLOCK = 32  # tokens a KV-cache block holds on CPU, seen: 64 blocks of a model with 512 B a token are 1 MiB
# Whoever keeps whole weights wants transformers' tokens. On CPUs with bfloat16 OpenVINO would compute in
# that, which changed 1.2 % of the demo model's greedy choices; in f32 it changed none.
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
FINISH = {
    genai.GenerationFinishReason.NONE: "",
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}


class _Open:
    """A request on its way: its callback, and its handle once the pipeline has it."""

    def __init__(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        self.request = request
        self.on_tokens = on_tokens
        self.handle: genai.GenerationHandle | None = None
        self.aborted = False


class OpenVinoEngine:
    """One pipeline and the one thread that drives it; submit and abort only leave notes for that thread."""

    def __init__(self, engine_dir: Path, manifest: Manifest, max_waiting: int) -> None:
        self._limits = manifest.limits
        self._end_ids = frozenset(manifest.defaults.end_ids)
        self._most_open = manifest.limits.max_batch_size + max_waiting
        self._pipeline = _load_pipeline(engine_dir / ENGINE, manifest)
        self._open: dict[int, _Open] = {}
        self._waiting: collections.deque[_Open] = collections.deque()
        self._closed = False
        self._failure: EngineError | None = None
        self._kv_cache_usage = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="openvino-engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, on_tokens: OnTokens) -> None:
        """Queue a request (see Engine.submit)."""
        with self._changed:
            if self._failure or self._closed:
                raise self._failure or EngineError("the engine is closed")
            if len(self._open) >= self._most_open:
                raise Overloaded("Exceeds maximum queue size")
            entry = self._open[request.request_id] = _Open(request, on_tokens)
            self._waiting.append(entry)
            self._changed.notify()

    def abort(self, request_id: int) -> None:
        """End a request early (see Engine.abort)."""
        with self._changed:
            if entry := self._open.get(request_id):
                entry.aborted = True
                self._changed.notify()

    def stats(self) -> EngineStats:
        """Read the load; the cache's as of the last step."""
        waiting = len(self._waiting)
        return EngineStats(max(0, len(self._open) - waiting), waiting, self._kv_cache_usage)

    def close(self) -> None:
        """End every open request, stop the thread, free the pipeline."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """The engine's life: let newcomers in, let leavers out, step, hand out what came."""
        try:
            while self._wait_for_work():
                self._let_leavers_out()
                self._let_newcomers_in()
                self._pipeline.step()
                self._deliver()
                time.sleep(0)  # lets go of the GIL, which step() never does
        except Exception:
            log.exception("the engine failed; every open request ends")
            self._failure = EngineError("the engine failed")
        self._end_all()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._open or self._closed)
            return not self._closed

    def _let_leavers_out(self) -> None:
        for entry in self._snapshot():
            if entry.aborted and entry.handle:
                entry.handle.cancel()
            elif entry.aborted:
                with self._changed:
                    self._waiting.remove(entry)
                self._end(entry, Tokens([], "cancelled"))

    def _let_newcomers_in(self) -> None:
        while self._waiting and len(self._open) - len(self._waiting) < self._limits.max_batch_size:
            entry = self._waiting.popleft()
            try:
                entry.handle = self._add(entry.request)
            except Exception as error:  # the pipeline refused this one request
                log.exception("request %d was refused by the pipeline", entry.request.request_id)
                self._end(entry, Tokens([], error=EngineError(f"the engine refused the request: {error}")))

    def _add(self, request: GenerationRequest) -> genai.GenerationHandle:
        input_ids = ov.Tensor(np.array([request.input_ids], dtype=np.int64))
        return self._pipeline.add_request(request.request_id, input_ids, self._config(request))

    def _config(self, request: GenerationRequest) -> genai.GenerationConfig:
        sampling = request.sampling
        config = genai.GenerationConfig()
        config.max_new_tokens = sampling.max_tokens
        self._set_end(config)
        config.do_sample = not sampling.greedy
        if config.do_sample:
            config.temperature = sampling.temperature
            config.top_p = sampling.top_p
            config.top_k = sampling.top_k
            config.rng_seed = sampling.seed
        return config

    def _set_end(self, config: genai.GenerationConfig) -> None:
        """The manifest alone says what ends a text.

        Left to itself the pipeline would add the end token of the checkpoint's generation_config.json.
        """
        config.ignore_eos = not self._end_ids
        for end_id in self._end_ids:
            config.set_eos_token_id(end_id)  # adds to those that stop

    def _deliver(self) -> None:
        for entry in self._snapshot():
            if entry.handle:
                self._deliver_one(entry, entry.handle)
        self._kv_cache_usage = self._pipeline.get_metrics().cache_usage / 100

    def _deliver_one(self, entry: _Open, handle: genai.GenerationHandle) -> None:
        outputs = handle.read() if handle.can_read() else {}
        if outputs:
            (output,) = outputs.values()  # one sequence a request
            tokens = self._tokens(output)
        elif handle.get_status() == genai.GenerationStatus.RUNNING:
            return  # waiting, or its prompt is still being read
        elif entry.aborted:
            tokens = Tokens([], "cancelled")
        else:  # IGNORED
            tokens = Tokens([], error=EngineError("the KV cache has no room for the request"))
        if tokens.last:
            self._end(entry, tokens)
        else:
            self._hand_out(entry, tokens)

    def _hand_out(self, entry: _Open, tokens: Tokens) -> None:
        """A receiver that fails is that request's misfortune, not the engine's."""
        try:
            entry.on_tokens(tokens)
        except Exception:
            log.exception("request %d: its tokens could not be handed out", entry.request.request_id)
            entry.aborted = True

    def _tokens(self, output: genai.GenerationOutput) -> Tokens:
        ids, finish = output.generated_ids, FINISH[output.finish_reason]
        if finish == "stop" and ids and ids[-1] in self._end_ids:
            ids = ids[:-1]  # the end token is no text
        return Tokens(ids, finish)

    def _snapshot(self) -> list[_Open]:
        with self._changed:
            return list(self._open.values())

    def _end(self, entry: _Open, tokens: Tokens) -> None:
        with self._changed:
            self._open.pop(entry.request.request_id, None)
        self._hand_out(entry, tokens)

    def _end_all(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
        for entry in self._snapshot():
            if entry.handle:
                entry.handle.cancel()
            self._end(entry, Tokens([], error=self._failure) if self._failure else Tokens([], "cancelled"))
        if not self._failure:
            self._pipeline.step()  # the pipeline lets go of what was cancelled


def _load_pipeline(folder: Path, manifest: Manifest) -> genai.ContinuousBatchingPipeline:
    limits = manifest.limits
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = limits.max_batch_size
    scheduler.max_num_batched_tokens = limits.max_num_tokens
    scheduler.num_kv_blocks = _kv_blocks(folder, manifest)
    scheduler.enable_prefix_caching = True
    try:
        # The pipeline wants a tokenizer object; ours is empty, since only ids go in.
        tokenizer = genai.Tokenizer(folder)
        properties = EXACT if manifest.precision in ("fp16", "fp32") else {}
        return genai.ContinuousBatchingPipeline(folder, tokenizer, scheduler, "CPU", **properties)
    except RuntimeError as error:
        raise EngineDirectoryError(f"{folder} cannot be loaded ({error}): build the engine again") from error


def _kv_blocks(folder: Path, manifest: Manifest) -> int:
    """Blocks for a full batch at full length, but no more than half of this machine's memory holds.

    Memory is touched only as it is used, so a generous number costs nothing by itself.
    """
    limits = manifest.limits
    wanted = limits.max_batch_size * -(-limits.max_seq_len // BLOCK)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    affordable = memory // 2 // (BLOCK * _kv_bytes_per_token(folder))
    return max(1, min(wanted, affordable))


def _kv_bytes_per_token(folder: Path) -> int:
    """Keys and values of one token over all layers, at 2 bytes a number (the most the CPU plugin uses)."""
    config = json.loads((folder / "config.json").read_text())
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return int(2 * config["num_hidden_layers"] * (config.get("num_key_value_heads") or heads) * head_dim * 2)
