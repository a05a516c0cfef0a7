# SPDX-License-Identifier: Apache-2.0
"""An engine core for vLLM's AsyncLLM that computes nothing (engine_front.py)."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any

CONFIG = {
    "architectures": ["OPTForCausalLM"],
    "model_type": "opt",
    "hidden_size": 768,
    "word_embed_proj_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "vocab_size": 50272,
    "torch_dtype": "float16",
}
TOKEN = 1234


class Core:
    """What AsyncLLM has for its engine core: a token a request and step, the last with a finish reason."""

    engine_ranks_managed = (0,)
    resources = SimpleNamespace(engine_dead=False)

    def __init__(self, step_seconds: float) -> None:
        from vllm.v1.engine import EngineCoreOutputs
        from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

        self.held = False
        self._encode = MsgpackEncoder().encode
        self._decode = MsgpackDecoder(EngineCoreOutputs).decode
        self._step_seconds = step_seconds
        self._open: dict[str, Any] = {}  # request id to sampling parameters
        self._left: dict[str, int] = {}
        self._same: deque[Any] = deque()  # the messages of steps that nothing begins or ends in

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        """Return what AsyncLLM asks for."""
        return ("generate",)

    async def add_request_async(self, request: Any) -> None:
        """Take a request; it gets its first token in the next step."""
        self._settle()
        self._open[request.request_id] = request.sampling_params
        self._left[request.request_id] = request.sampling_params.max_tokens

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        """Forget requests."""
        self._settle()
        for request_id in request_ids:
            self._open.pop(request_id, None)
            self._left.pop(request_id, None)

    async def get_output_async(self) -> Any:
        """Return the outputs of a step, decoded from a message as AsyncMPClient does."""
        await asyncio.sleep(self._step_seconds)
        while self.held or not self._open:
            await asyncio.sleep(0.001)
        if not self._same:
            self._same.extend(self._messages())
        return self._decode(self._same.popleft())

    def _settle(self) -> None:
        """Take back the steps that were encoded ahead."""
        for name in self._left:
            self._left[name] += len(self._same)
        self._same.clear()

    def _messages(self) -> list[Any]:
        """Encode the next steps, all of them alike: the last token of a request comes by itself."""
        steps = min(self._left.values()) - 1 or 1
        ending = {name for name, left in self._left.items() if left == 1}
        message = self._encode_step(ending)
        self._left = {name: left - steps for name, left in self._left.items() if name not in ending}
        for name in ending:
            del self._open[name]
        return [message] * steps

    def _encode_step(self, ending: set[str]) -> Any:
        from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
        from vllm.v1.metrics.stats import SchedulerStats

        outputs = [
            EngineCoreOutput(
                name,
                [TOKEN],
                new_logprobs=None if params.logprobs is None else log_probs(),
                finish_reason=FinishReason.LENGTH if name in ending else None,
            )
            for name, params in self._open.items()
        ]
        return self._encode(EngineCoreOutputs(outputs=outputs, scheduler_stats=SchedulerStats()))

    def shutdown(self, timeout: float | None = None) -> None:
        """End nothing: nothing runs."""


def log_probs() -> Any:
    """Return the log probabilities of one token."""
    import numpy as np
    from vllm.v1.outputs import LogprobsLists

    return LogprobsLists(np.array([[TOKEN]]), np.array([[-1.0]], dtype=np.float32), np.array([1]))
