# SPDX-License-Identifier: Apache-2.0
"""Train the demo model from Debian's documentation, top to bottom.

    apt-get update
    nice -n 15 python models/demo/train.py --work /tmp/demo-train --out models/demo --minutes 40

Needs a Debian 12 with apt-get and dpkg, and Python with torch, transformers, tokenizers and
safetensors. It downloads and unpacks the packages that corpus.py names, cuts them into passages,
trains the tokenizer and the model on the CPU, writes the checkpoint to --out and measures its perplexity
on the held-out text, --work/heldout.txt. The learning rate follows the clock, not a step count, so that
a slower machine still ends its schedule in --minutes.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from corpus import Passage, read_corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

log = logging.getLogger("train")

END = "</s>"  # starts a text and ends it, as in facebook/opt
PAD = "<pad>"
VOCABULARY = 4096
POSITIONS = 512
HIDDEN = 256
BATCH_TOKENS = 4096
PEAK_RATE = 3e-3
LOSS_ROWS = 256  # rows of logits at a time: 256 x 4096 floats stay in the cache
SAVE_MINUTES = 5


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE that loses nothing and sets END before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, end)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> OPTForCausalLM:
    """A small OPT with fresh weights."""
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        word_embed_proj_dim=HIDDEN,
        num_hidden_layers=4,
        num_attention_heads=4,
        ffn_dim=768,
        max_position_embeddings=POSITIONS,
        dropout=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",  # faster than sdpa here, at a head size of 64 and rows this short
    )
    return OPTForCausalLM(config)


def encoded_pages(tokenizer: PreTrainedTokenizerFast, training: list[Passage]) -> list[torch.Tensor]:
    """One row of token ids a page: END, passage, END, passage, ..."""
    ids = tokenizer([passage.text for passage in training])["input_ids"]
    by_page: dict[str, list[int]] = {}
    for passage, row in zip(training, ids, strict=True):
        by_page.setdefault(passage.page, []).extend(row)
    return [torch.tensor(row, dtype=torch.int32) for row in by_page.values()]


def epochs(pages: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """All pages as one stream, in a new order every time."""
    while True:
        random.shuffle(pages)
        yield torch.cat(pages).long()


def batches(stream: torch.Tensor, length: int) -> Iterator[torch.Tensor]:
    """Rows of `length` tokens and the one that follows, in random order."""
    rows = stream[random.randrange(length) :].unfold(0, length + 1, length)
    order = torch.randperm(len(rows))
    for chosen in order.split(BATCH_TOKENS // length):
        yield rows[chosen]


class HeadLoss(torch.autograd.Function):
    """Cross entropy of the tied head a few rows at a time: whole logits would not fit the cache."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Sum the loss and, while the scores are at hand, both gradients."""
        head = weight.to(hidden.dtype)
        hidden_grad, weight_grad = torch.empty_like(hidden), torch.zeros_like(weight)
        total = torch.zeros(())
        for start in range(0, len(hidden), LOSS_ROWS):
            rows, wanted = hidden[start : start + LOSS_ROWS], target[start : start + LOSS_ROWS, None]
            scores = torch.log_softmax((rows @ head.T).float(), dim=-1)
            total -= scores.gather(1, wanted).sum()
            error = scores.exp_()
            error.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=error.dtype))
            error = error.to(hidden.dtype)
            torch.mm(error, head, out=hidden_grad[start : start + LOSS_ROWS])
            weight_grad += error.T @ rows
        ctx.save_for_backward(hidden_grad.div_(len(hidden)), weight_grad.div_(len(hidden)))
        return total / len(hidden)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Hand out what forward worked out."""
        hidden_grad, weight_grad = ctx.saved_tensors
        return hidden_grad * grad, weight_grad * grad, None


def batch_loss(model: OPTForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """Loss of every next token in the rows, in bfloat16 but for the sums."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model.decoder(input_ids=rows[:, :-1], use_cache=False).last_hidden_state
    flat = hidden.to(torch.bfloat16).reshape(-1, HIDDEN)
    return HeadLoss.apply(flat, model.lm_head.weight, rows[:, 1:].reshape(-1))


def optimizers(model: OPTForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, where it learns far more a step than AdamW; AdamW for the rest."""
    named = list(model.named_parameters())
    inner = [weight for name, weight in named if weight.ndim == 2 and "embed" not in name]
    rest = [weight for name, weight in named if weight.ndim != 2 or "embed" in name]
    return [
        torch.optim.AdamW(rest, lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
        torch.optim.Muon(inner, lr=PEAK_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    ]


def rate_at(done: float) -> float:
    """Trapezoid over the share of the time that is done: warm up, hold, then fall to zero."""
    return min(1.0, done / 0.02 + 0.01, (1.0 - done) / 0.4)


def learn(
    model: OPTForCausalLM, steppers: list[torch.optim.Optimizer], rows: torch.Tensor, rate: float
) -> float:
    """One step on one batch; its loss."""
    loss = batch_loss(model, rows)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
        stepper.step()
        stepper.zero_grad()
    return loss.item()


def timed_batches(pages: list[torch.Tensor], minutes: float) -> Iterator[tuple[float, torch.Tensor]]:
    """Batches until the time is up: rows of 256 for its first 60%, then rows of all 512 positions."""
    started = time.monotonic()
    for stream in epochs(pages):
        long_rows = (time.monotonic() - started) / 60 >= 0.6 * minutes
        for rows in batches(stream, POSITIONS if long_rows else POSITIONS // 2):
            done = (time.monotonic() - started) / 60 / minutes
            if done >= 1.0:
                return
            yield done, rows
            if done >= 0.6 and not long_rows:
                break


def train(model: OPTForCausalLM, pages: list[torch.Tensor], minutes: float, kept: Path) -> None:
    """Learn until the time is up; leave the weights in `kept` every few minutes."""
    model.train()
    steppers = optimizers(model)
    tokens, mean, saved = 0, 0.0, 0.0
    for step, (done, rows) in enumerate(timed_batches(pages, minutes), start=1):
        loss = learn(model, steppers, rows, PEAK_RATE * rate_at(done))
        tokens += rows.shape[0] * (rows.shape[1] - 1)
        mean = loss if step == 1 else 0.98 * mean + 0.02 * loss
        if step % 100 == 0:
            log.info("%5.1f min  %6d steps  %9d tokens  loss %.3f", done * minutes, step, tokens, mean)
        if done * minutes - saved > SAVE_MINUTES:
            saved = done * minutes
            torch.save(model.state_dict(), kept)
    log.info("trained on %d tokens in %d steps", tokens, step)


def alone(ids: list[list[int]]) -> Iterator[tuple[list[int], int]]:
    """Passages each by itself: (END and its tokens, how many of them are context only)."""
    for row in ids:
        yield row, 1


def windowed(ids: list[int]) -> Iterator[tuple[list[int], int]]:
    """One long text in windows half a window apart, as build_scripts.perplexity reads it."""
    end_token, text = ids[0], ids[1:]
    size, new = POSITIONS - 1, 0
    for start in range(0, len(text), size // 2):
        end = min(start + size, len(text))
        yield [end_token, *text[start:end]], 1 + new - start
        new = end
        if end == len(text):
            return


@torch.no_grad()
def perplexity(
    model: OPTForCausalLM, pieces: Iterator[tuple[list[int], int]], text_bytes: int
) -> dict[str, float]:
    """Loss of the tokens after each piece's context; END itself is never one to predict."""
    model.eval()
    nats, tokens = 0.0, 0
    for ids, context in pieces:
        row = torch.tensor([ids])
        scores = model(input_ids=row, use_cache=False).logits[0, context - 1 : -1].float()
        nats += torch.nn.functional.cross_entropy(scores, row[0, context:], reduction="sum").item()
        tokens += len(ids) - context
    loss, bits = nats / tokens, nats / math.log(2) / text_bytes
    return {"tokens": tokens, "loss": loss, "perplexity": math.exp(loss), "bits_per_byte": bits}


def log_held_out(out: Path, held_out: list[str], held_out_file: Path) -> None:
    """Measure the checkpoint as it was written, in float32 arithmetic."""
    model = OPTForCausalLM.from_pretrained(out, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    whole = held_out_file.read_text(encoding="utf-8")
    by_itself = alone(tokenizer(held_out)["input_ids"])
    log.info("passages: %s", perplexity(model, by_itself, sum(len(text.encode()) for text in held_out)))
    in_windows = windowed(tokenizer(whole, verbose=False)["input_ids"])
    log.info("heldout.txt: %s", perplexity(model, in_windows, len(whole.encode())))


def write_checkpoint(
    model: OPTForCausalLM, tokenizer: PreTrainedTokenizerFast, work: Path, out: Path
) -> None:
    """Write beside, then move file by file: a reader never meets half a file."""
    fresh = work / "checkpoint"
    model.half().save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    described = json.loads((fresh / "tokenizer_config.json").read_text(encoding="utf-8"))
    described["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name every transformers release loads
    (fresh / "tokenizer_config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    for path in fresh.iterdir():
        moving = out / f".{path.name}.new"
        moving.write_bytes(path.read_bytes())
        os.replace(moving, out / path.name)


def main() -> None:
    """Corpus, tokenizer, model, training, checkpoint, held-out perplexity."""
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and scratch files")
    parser.add_argument("--out", type=Path, required=True, help="folder the checkpoint is written to")
    parser.add_argument("--minutes", type=float, default=40.0, help="training time")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    random.seed(1)

    training, held_out = read_corpus(args.work)
    tokenizer = train_tokenizer([passage.text for passage in training])
    pages = encoded_pages(tokenizer, training)
    model = new_model(tokenizer)
    log.info("%d training tokens, %d parameters", sum(map(len, pages)), model.num_parameters())

    train(model, pages, args.minutes, args.work / "last.pt")
    write_checkpoint(model, tokenizer, args.work, args.out)
    log_held_out(args.out, held_out, args.work / "heldout.txt")


if __name__ == "__main__":
    main()
