# SPDX-License-Identifier: Apache-2.0
"""Tiny random checkpoints, one a family, with what transformers makes of them; for the build environment.

    python make_checkpoints.py FOLDER [FAMILY ...]

Each FOLDER/FAMILY is a checkpoint as its makers publish theirs: OPT with slow tokenizer files and
pytorch_model.bin, Mistral with a SentencePiece tokenizer.model alone, Llama in bfloat16, and so on.
FOLDER/FAMILY.json holds prompts and what greedy decoding in float32 continues them with.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaTokenizer,
    LlamaConfig,
    LlamaTokenizer,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen3Config,
)

NEW_TOKENS = 20
TEXT = ["the quick brown fox jumps over the lazy dog and runs away from it, as foxes do"] * 20
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def byte_level(special: list[str]) -> Tokenizer:
    """GPT-2's kind of tokenizer, trained on one sentence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=320, show_progress=False, special_tokens=special, initial_alphabet=alphabet
        ),
    )
    return tokenizer


def metaspace_bpe(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of SentencePiece's kind, with a token for every byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=360, show_progress=False, special_tokens=special + every_byte)
    )
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def opt_tokenizer(folder: Path) -> None:
    """As facebook/opt-*: vocab.json and merges.txt, and the configuration that puts </s> first."""
    byte_level(["<s>", "<pad>", "</s>"]).model.save(str(folder))
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    config = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def llama_tokenizer(folder: Path) -> None:
    vocab, merges = metaspace_bpe(["<unk>", "<s>", "</s>"])
    LlamaTokenizer(vocab, merges, add_bos_token=True).save_pretrained(folder)


def gemma_tokenizer(folder: Path) -> None:
    vocab, merges = metaspace_bpe(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    GemmaTokenizer(vocab, merges, add_bos_token=True).save_pretrained(folder)


def qwen_tokenizer(folder: Path) -> None:
    """With the chat template in its own file, and truncation left on from training."""
    model = json.loads(byte_level(["<|endoftext|>", "<|im_end|>"]).to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        model["vocab"], [tuple(pair) for pair in model["merges"]], eos_token="<|im_end|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.backend_tokenizer.enable_truncation(6)
    tokenizer.save_pretrained(folder)


def mistral_tokenizer(folder: Path) -> None:
    """As older repositories: tokenizer.model alone."""
    import sentencepiece

    words = sorted({word for line in TEXT for word in line.split()})
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT + words),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


FAMILIES = {  # configuration, tokenizer, stored as, eos_token_id
    "opt": (
        OPTConfig(
            hidden_size=64, ffn_dim=256, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=64,
            max_position_embeddings=256, bos_token_id=2, eos_token_id=2, pad_token_id=1,
        ),
        opt_tokenizer, torch.float16, 2,
    ),
    "llama": (LlamaConfig(**SIZES), llama_tokenizer, torch.bfloat16, 2),
    "qwen2": (Qwen2Config(**SIZES, tie_word_embeddings=True), qwen_tokenizer, torch.float32, [0, 1]),
    "qwen3": (Qwen3Config(**SIZES, head_dim=32), qwen_tokenizer, torch.bfloat16, 1),
    "mistral": (MistralConfig(**SIZES, sliding_window=16), mistral_tokenizer, torch.float16, 2),
    "gemma": (GemmaConfig(**SIZES, head_dim=32), gemma_tokenizer, torch.float16, 1),
    # Without the soft cap on attention scores, which paged attention leaves out.
    "gemma2": (
        Gemma2Config(**SIZES, head_dim=32, sliding_window=16, attn_logit_softcapping=None),
        gemma_tokenizer, torch.float16, 1,
    ),
    "gemma3": (Gemma3TextConfig(**SIZES, head_dim=32, sliding_window=16), gemma_tokenizer, torch.bfloat16, 1),
    # One weight in every row is so large that in 8 bits the others round to nothing.
    "garbling": (LlamaConfig(**SIZES), llama_tokenizer, torch.float16, 2),
}  # fmt: skip


def make(family: str, root: Path) -> None:
    """Write root/family and root/family.json."""
    config, write_tokenizer, dtype, end = FAMILIES[family]
    folder = root / family
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    config.vocab_size = 384
    config.initializer_range = config.init_std = (
        0.3  # far-apart logits, so that greedy decoding has no near ties
    )
    for seed in range(50):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        if family.startswith("gemma"):  # whose scaled, tied embeddings would else only repeat the last token
            model.get_input_embeddings().weight.data *= 0.03
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype).float()  # what will be stored
        prompts = [torch.randint(3, 300, (length,)).tolist() for length in (1, 40)]
        answers, margin = zip(*(greedy(model, prompt) for prompt in prompts), strict=True)
        if min(margin) > 0.004:
            break
    else:
        raise SystemExit(f"{family}: no seed without near ties")
    if family == "garbling":
        for name, parameter in model.named_parameters():
            if name.endswith(("up_proj.weight", "v_proj.weight", "o_proj.weight", "down_proj.weight")):
                parameter.data[:, 0] = 300
    model.generation_config.eos_token_id = end
    model.to(dtype).save_pretrained(folder)
    if family == "opt":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    (root / f"{family}.json").write_text(
        json.dumps({"prompts": prompts, "answers": answers, "margin": min(margin)})
    )


@torch.no_grad()
def greedy(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    """The continuation, and the smallest lead of a chosen token, in units of its logits' spread."""
    answer: list[int] = []
    margin, past, fresh = float("inf"), None, prompt
    for _ in range(NEW_TOKENS):
        step = model(torch.tensor([fresh]), past_key_values=past, use_cache=True)
        past, logits = step.past_key_values, step.logits[0, -1]
        best = logits.topk(2).values
        margin = min(margin, float((best[0] - best[1]) / logits.std()))
        fresh = [int(logits.argmax())]
        answer += fresh
    return answer, margin


if __name__ == "__main__":
    torch.set_num_threads(1)  # two threads take longer over 64 numbers
    for family in sys.argv[2:] or FAMILIES:
        make(family, Path(sys.argv[1]))
