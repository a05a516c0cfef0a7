# SPDX-License-Identifier: Apache-2.0
"""The LLM classes of both backends."""

import atexit
import logging
import os
import time
import uuid
import weakref
from pathlib import Path

from tensorrt_llm import _seen
from tensorrt_llm._fake import model_dir
from tensorrt_llm._fake.configs import TorchLlmArgs, TrtLlmArgs
from tensorrt_llm._fake.executor import Executor
from tensorrt_llm._fake.generation import check_computable
from tensorrt_llm._fake.requests import lora, request_check
from tensorrt_llm._fake.requests.results import RequestOutput
from tensorrt_llm._fake.requests.sampling_params import SamplingParams
from tensorrt_llm._fake.tokenizer import load_tokenizer
from tensorrt_llm._fake.version import NEWER

log = logging.getLogger("tensorrt_llm")
# Arguments of generate_async that the sheet names and the fake ignores.
UNUSED = (
    "prompt_adapter_request",
    "kv_cache_retention_config",
    "disaggregated_params",
    "trace_headers",
    "_postproc_params",
    "scheduling_params",
    "cache_salt",
    *(("conversation_params", "priority") if NEWER else ()),
)


class BaseLLM:
    __slots__ = ("__weakref__", "_adapted", "_args", "_executor", "_folder", "_limits", "llm_id", "tokenizer")
    _args_class: type
    _pytorch: bool

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
        self._executor, self._adapted = None, {}
        if "_mpi_session" in kwargs:
            kwargs["mpi_session"] = kwargs.pop("_mpi_session")
        self._args = self._args_class(**given, **kwargs)
        self._check_arguments()
        self.tokenizer = load_tokenizer(self._args.tokenizer)
        self._folder, self.llm_id = Path(model), uuid.uuid4().hex[:8]
        self._limits = self._open()
        chunked = self._args.enable_chunked_prefill
        self._executor = Executor(self._limits, self._args.kv_cache_config, chunked, self._pytorch)
        atexit.register(_shut_down, weakref.ref(self))

    def generate_async(
        self, inputs, sampling_params=None, *, streaming=False, lora_request=None, **others
    ) -> RequestOutput:
        """Queue one prompt. Keywords only beyond the first two, since their order is not certain."""
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
        executor = self._executor_of(lora_request) if lora_request else self._executor
        output = RequestOutput(executor, prompt, params)
        output.request_id = executor.submit(prompt, params, max_tokens, streaming, output)
        return output

    def _executor_of(self, request) -> Executor:
        """Return the executor of an adapter; the real one computes all in one."""
        number = request.lora_int_id
        if number not in self._adapted:
            adapter = lora.load(request, *self._lora_limits())
            config, chunked = self._args.kv_cache_config, self._args.enable_chunked_prefill
            self._adapted[number] = Executor(self._limits, config, chunked, self._pytorch, adapter)
        return self._adapted[number]

    def get_stats(self, timeout: float | None = 2) -> list[dict]:
        """Return the records so far; wait only for the first one."""
        records = []
        while record := self._take_stats(timeout if not records else 0):
            records.append(record)
        return records

    def get_stats_async(self, timeout: float | None = 2) -> "StatsIteration":
        return StatsIteration(self, timeout)

    def get_kv_cache_events(self, timeout: float | None = 2) -> list[dict]:
        raise NotImplementedError("the fake has no KV cache events")

    def _check_health(self) -> bool:
        return self._executor is not None and not self._executor.is_shutdown()

    def shutdown(self) -> None:
        executor, self._executor = self._executor, None
        if executor:
            executor.shutdown()
        while self._adapted:
            self._adapted.popitem()[1].shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()

    def __getstate__(self):
        raise RuntimeError("an LLM cannot be pickled")

    def _check_arguments(self) -> None:
        if names := _seen.job_variables():
            raise RuntimeError(f"the real one hangs here: it inherits the MPI job variables {names}")
        if self._args.skip_tokenizer_init == (self._args.tokenizer is not None):
            raise RuntimeError(
                "the fake needs a tokenizer's folder or skip_tokenizer_init=True, and one of them"
            )
        if NEWER and os.environ.get("TRTLLM_NO_USAGE_STATS") != "1":
            raise RuntimeError("the real one reports its usage to NVIDIA: set TRTLLM_NO_USAGE_STATS=1")
        if self._args.guided_decoding_backend and self._args.tokenizer is None:
            raise ValueError("guided decoding needs the tokenizer, which skip_tokenizer_init leaves out")

    def _checked(self, params):
        params = SamplingParams() if params is None else params
        request_check.check_params(params)
        if params.guided_decoding and not self._args.guided_decoding_backend:
            raise ValueError("guided_decoding needs guided_decoding_backend in LLM(...)")
        params._stop_words()  # RuntimeError here, before anything is queued
        params._bad_words()
        return params

    def _take_stats(self, seconds: float | None) -> dict | None:
        """Trap: this waits for the worker in the calling thread."""
        while os.environ.get("FAKE_TRTLLM_STATS_HANG") == "1":
            time.sleep(0.01)
        return self._executor.stats.take(seconds or 0) if self._executor else None


class EngineLLM(BaseLLM):
    """tensorrt_llm._tensorrt_engine.LLM, on an engine directory."""

    __slots__ = ()
    _args_class = TrtLlmArgs
    _pytorch = False

    def _open(self) -> model_dir.Limits:
        if self._args.build_config is not None:
            log.warning("build_config is ignored: %s is an engine", self._folder)
        return model_dir.open_engine(self._folder, self._args)

    def _lora_limits(self):
        built = model_dir.lora_of_engine(self._folder)
        if built is None:
            raise ValueError("the engine was built without lora_plugin")
        return built["max_lora_rank"], None

    def _check_request(self, length: int, params) -> None:
        request_check.check_for_engine(self._folder, self._args, self._limits, length, params)
        check_computable(params, is_engine=True)


class TorchLLM(BaseLLM):
    """tensorrt_llm.LLM, on a Hugging Face checkpoint."""

    __slots__ = ()
    _args_class = TorchLlmArgs
    _pytorch = True

    def _open(self) -> model_dir.Limits:
        if self._args.lora_config is not None:
            lora.check_config(self._args.lora_config)
        return model_dir.open_checkpoint(self._folder, self._args)

    def _lora_limits(self):
        config = self._args.lora_config
        if config is None:
            raise ValueError("the LLM was made without a lora_config")
        return config.max_lora_rank, config.lora_target_modules

    def _check_request(self, length: int, params) -> None:
        request_check.check_for_pytorch(self._args, self._limits, length, params)
        request_check.check_bias(params, model_dir.read_config(self._folder))
        check_computable(params, is_engine=False)

    def _take_stats(self, seconds: float | None) -> dict | None:
        return super()._take_stats(seconds) if self._args.enable_iter_perf_stats else None


class StatsIteration:
    """Ends after `timeout` seconds without a record. Trap: this blocks the caller's loop for that time."""

    def __init__(self, llm: BaseLLM, timeout: float | None) -> None:
        self._llm, self._timeout = llm, timeout

    def __aiter__(self):
        return self

    async def __anext__(self) -> dict:
        if record := self._llm._take_stats(self._timeout):
            return record
        raise StopAsyncIteration


def _shut_down(reference) -> None:
    """At the end of the process, when no loop runs any more."""
    llm = reference()
    if llm and llm._executor:
        llm._executor.shutdown(wait=False)


for _class in (EngineLLM, TorchLLM):
    _class.__name__ = _class.__qualname__ = "LLM"
