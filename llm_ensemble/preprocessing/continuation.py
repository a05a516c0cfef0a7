# SPDX-License-Identifier: Apache-2.0
"""continue_final_message: a prompt that ends with the text of the last message, which is continued.

A template writes what ends a message after it. So the last message gets a mark at its end, and the rendered
prompt is cut where the mark is: transformers' way, with transformers' mark, so that the prompts are equal.
"""

from __future__ import annotations

from llm_ensemble.contract.content import Message
from llm_ensemble.errors import RequestError

MARK = "CONTINUE_FINAL_MESSAGE_TAG"
SPACE = " "  # after the mark; a template that strips texts takes it away


def mark_final(conversation: list[Message]) -> tuple[list[Message], str]:
    """Return the conversation with the mark, and the text that is to be continued.

    Raises RequestError when the last message is not the assistant's.
    """
    *before, final = conversation
    if final["role"] != "assistant":
        raise _wrong("the last message is not the assistant's; leave it out, or end with one to continue")
    if isinstance(final["content"], str):
        text = final["content"]
        return [*before, {**final, "content": text + MARK + SPACE}], text
    *parts, last = final["content"]
    text = last["text"]
    return [*before, {**final, "content": [*parts, {**last, "text": text + MARK + SPACE}]}], text


def cut_at_mark(prompt: str, text: str) -> str:
    """Return the prompt up to the end of the text that is to be continued.

    Raises RequestError when the template did not write that text.
    """
    if MARK not in prompt or text.strip() not in prompt:
        raise _wrong("the model's chat template does not write the last message as it is; leave it out")
    end = prompt.rindex(MARK)
    kept = prompt[:end]
    return kept if prompt.startswith(MARK + SPACE, end) else kept.rstrip()


def _wrong(problem: str) -> RequestError:
    return RequestError("continue_final_message", problem)
