# SPDX-License-Identifier: Apache-2.0
"""LLM, of both backends."""

import asyncio
import atexit
import logging
import time
import uuid
import weakref
from pathlib import Path

from tensorrt_llm import _seen
from tensorrt_llm._fake import model_dir, request_check
from tensorrt_llm._fake.configs import TorchLlmArgs, TrtLlmArgs
from tensorrt_llm._fake.executor import Executor
from tensorrt_llm._fake.generation import refuse_what_cannot_be_computed
from tensorrt_llm._fake.results import RequestOutput
from tensorrt_llm._fake.sampling_params import SamplingParams

log = logging.getLogger("tensorrt_llm")
# Arguments of generate_async that the sheet names and the fake has no use for.
UNUSED = (
    "lora_request",
    "prompt_adapter_request",
    "kv_cache_retention_config",
    "disaggregated_params",
    "trace_headers",
    "_postproc_params",
    "scheduling_params",
    "cache_salt",
)


class BaseLLM:
    __slots__ = ("__weakref__", "_args", "_executor", "_folder", "_limits", "llm_id")
    _args_class: type

    def __init__(
        self,
        model,
        tokenizer=None,
        tokenizer_mode="auto",
        skip_tokenizer_init=False,
        trust_remote_code=False,
        tensor_parallel_size=1,
        dtype="auto",
        revision=None,
        tokenizer_revision=None,
        **kwargs,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        self._executor = None
        if "_mpi_session" in kwargs:
            kwargs["mpi_session"] = kwargs.pop("_mpi_session")
        self._args = self._args_class(**given, **kwargs)
        self._refuse_what_would_hang_or_load()
        self._folder, self.llm_id = Path(model), uuid.uuid4().hex[:8]
        self._limits = self._open()
        self._executor = Executor(self._limits, self._args.kv_cache_config, self._args.enable_chunked_prefill)
        atexit.register(_shut_down, weakref.ref(self))

    def generate_async(self, inputs, sampling_params=None, *, streaming=False, **others) -> RequestOutput:
        """Queue one prompt. Keywords only, beyond the first two: their order is not known for certain."""
        if unknown := set(others) - set(UNUSED):
            raise TypeError(f"generate_async has no argument {sorted(unknown)}")
        if used := [name for name, value in others.items() if value is not None]:
            raise NotImplementedError(f"the fake has no {used}")
        if self._executor is None or self._executor.is_shutdown():
            raise RuntimeError("LLM is shutting down")
        prompt = request_check.prompt_ids(inputs)
        params = self._checked(sampling_params)
        self._check_request(len(prompt), params)
        max_tokens = request_check.clamp(self._limits, len(prompt), params)
        output = RequestOutput(self._executor, prompt, params)
        output.request_id = self._executor.submit(prompt, params, max_tokens, streaming, output)
        return output

    def get_stats(self, timeout: float | None = 2) -> list[dict]:
        """What has gathered; waits for the first record alone."""
        records = []
        while record := self._take_stats(timeout if not records else 0):
            records.append(record)
        return records

    def get_stats_async(self, timeout: float | None = 2) -> "StatsIteration":
        return StatsIteration(self, timeout)

    def get_kv_cache_events(self, timeout: float | None = 2) -> list[dict]:
        raise NotImplementedError("the fake has no KV cache events")

    def shutdown(self) -> None:
        executor, self._executor = self._executor, None
        if executor:
            executor.shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()

    def __getstate__(self):
        raise RuntimeError("an LLM cannot be pickled")

    def _refuse_what_would_hang_or_load(self) -> None:
        if names := _seen.job_variables():
            raise RuntimeError(f"the real one hangs here: it inherits the MPI job variables {names}")
        if not self._args.skip_tokenizer_init or self._args.tokenizer is not None:
            raise RuntimeError("the fake loads no tokenizer: pass skip_tokenizer_init=True")
        if self._args.guided_decoding_backend:
            raise ValueError("guided decoding needs the tokenizer, which skip_tokenizer_init leaves out")

    def _checked(self, params):
        params = SamplingParams() if params is None else params
        request_check.check_params(params)
        params._stop_words()  # RuntimeError here, before anything is queued
        params._bad_words()
        return params

    def _take_stats(self, seconds: float | None) -> dict | None:
        return self._executor.stats.take(seconds or 0) if self._executor else None


class EngineLLM(BaseLLM):
    """tensorrt_llm._tensorrt_engine.LLM, on an engine directory."""

    __slots__ = ()
    _args_class = TrtLlmArgs

    def _open(self) -> model_dir.Limits:
        if self._args.build_config is not None:
            log.warning("build_config is ignored: %s is an engine", self._folder)
        return model_dir.open_engine(self._folder, self._args)

    def _check_request(self, length: int, params) -> None:
        request_check.check_for_engine(self._folder, self._args, self._limits, length, params)
        refuse_what_cannot_be_computed(params, is_engine=True)


class TorchLLM(BaseLLM):
    """tensorrt_llm.LLM, on a Hugging Face checkpoint."""

    __slots__ = ()
    _args_class = TorchLlmArgs

    def _open(self) -> model_dir.Limits:
        return model_dir.open_checkpoint(self._folder, self._args)

    def _check_request(self, length: int, params) -> None:
        request_check.check_for_pytorch(self._args, self._limits, length, params)
        refuse_what_cannot_be_computed(params, is_engine=False)

    def _take_stats(self, seconds: float | None) -> dict | None:
        return super()._take_stats(seconds) if self._args.enable_iter_perf_stats else None


class StatsIteration:
    """Ends once no record came for `timeout` seconds."""

    def __init__(self, llm: BaseLLM, timeout: float | None) -> None:
        self._llm, self._timeout = llm, timeout

    def __aiter__(self):
        return self

    async def __anext__(self) -> dict:
        deadline = time.monotonic() + (self._timeout or 0)
        while not (record := self._llm._take_stats(0)):
            if time.monotonic() >= deadline or not self._llm._executor or not self._llm._executor.stats.begun:
                raise StopAsyncIteration
            await asyncio.sleep(0.01)
        return record


def _shut_down(reference) -> None:
    if llm := reference():
        llm.shutdown()


for _class in (EngineLLM, TorchLLM):
    _class.__name__ = _class.__qualname__ = "LLM"
