# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of every make, built on the spot: MADE maps a name to what builds it.

The last few (TEXT_AT_END) have decoders that may change any of their text until the end.
"""

from functools import partial

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)

SENTENCES = [
    "The quick brown fox doesn't jump over the lazy dog, does it? I'm sure they've seen it!",
    "To change the settings, do n't open the file ; it 's a list of names . And numbers: 1, 2, 3.",
    "naïve café, Ünïcödé, 日本語のテキスト 中文字符 한국어 שלום עולם مرحبا بالعالم",
    "👩‍👩‍👧 👍🏽 🇩🇪🇫🇷 e\u0301 a\u0308 \ttabs  and   spaces\n\nand lines",
]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<pad>", "</s>", "<unk>"]


def trained(model, trainer, size, pre_tokenizer, decoder, **options):
    options = {"special_tokens": SPECIAL, "show_progress": False, **options}
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(SENTENCES, trainer(vocab_size=size, **options))
    if decoder:
        tokenizer.decoder = decoder
    return tokenizer


def byte_level(add_prefix_space=False):
    """GPT-2, Llama 3, Qwen."""
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = partial(trainers.BpeTrainer, initial_alphabet=alphabet)
    return trained(models.BPE(), trainer, 340, pre_tokenizer, decoders.ByteLevel())


def byte_level_with_added_tokens():
    """Ordinary added tokens are plain text among bytes, whatever they strip and however they are matched."""
    tokenizer = byte_level()
    tokenizer.add_tokens(
        [
            AddedToken("<tool>", lstrip=True, normalized=False),
            AddedToken("<end of tool>", rstrip=True, normalized=True),
            AddedToken("日本", single_word=True),
            AddedToken("Ġ", normalized=False),
            AddedToken("\ufffd"),
            AddedToken("<think>", special=True, lstrip=True, rstrip=True),
        ]
    )
    return tokenizer


def fallback_bpe(decoder, prepend_scheme):
    """Converted from SentencePiece: what the vocabulary lacks is written in byte tokens."""
    model = models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme, split=False)
    special = [*SPECIAL, *BYTES]
    learnt = trained(model, trainers.BpeTrainer, 420, pre_tokenizer, None, special_tokens=special)
    tokenizer = Tokenizer(learnt.model)  # anew: the trainer made the byte tokens special, which they are not
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizer, decoder
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(["<tool>", "▁<end>"])
    return tokenizer


def llama():
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return fallback_bpe(decoders.Sequence(steps), "first")


def gemma():
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    return fallback_bpe(decoders.Sequence(steps), "never")


def replaced_in_the_whole_text():
    """Pieces of two tokens may meet in what is replaced."""
    replace = [decoders.Replace("▁", " "), decoders.Replace("  ", "\N{EM SPACE}")]
    steps = [decoders.ByteFallback(), decoders.Fuse(), *replace, decoders.Strip("\N{EM SPACE}", 2, 0)]
    return fallback_bpe(decoders.Sequence(steps), "always")


def metaspace_bpe(prepend_scheme):
    pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    return trained(models.BPE(unk_token="<unk>"), trainers.BpeTrainer, 300, pre_tokenizer, decoder)


def unigram():
    """T5, XLM-R."""
    trainer = partial(trainers.UnigramTrainer, unk_token="<unk>")
    return trained(models.Unigram(), trainer, 200, pre_tokenizers.Metaspace(), decoders.Metaspace())


def unigram_with_byte_fallback():
    pieces = ["▁", "▁the", "he", "t", "h", "e", "▁▁", *"abcdfgilmnoprsuvwxyz.,?'", *BYTES]
    vocab = [("<unk>", 0.0), *((piece, -1.0 - n / 100) for n, piece in enumerate(pieces))]
    tokenizer = Tokenizer(models.Unigram(vocab, 0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def word_piece(cleanup):
    """BERT. The odd tokens are what clean-up looks for inside a token."""
    decoder = decoders.WordPiece(cleanup=cleanup)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    model = models.WordPiece(unk_token="<unk>")
    tokenizer = trained(model, trainers.WordPieceTrainer, 240, pre_tokenizer, decoder)
    tokenizer.add_tokens(
        [".", ",", "?", "!", "n't", "'m", "'s", "do not", "##.", " .", "a , b", "##", "日本"]
    )
    return tokenizer


def word_level():
    """No decoder: tokens are joined by spaces."""
    model = models.WordLevel(unk_token="<unk>")
    return trained(model, trainers.WordLevelTrainer, 60, pre_tokenizers.Whitespace(), None)


def word_ends():
    """GPT-1: a word's last token is marked; some have the mark inside, or nothing but the mark."""
    trainer = partial(trainers.BpeTrainer, end_of_word_suffix="</w>")
    model = models.BPE(unk_token="<unk>", end_of_word_suffix="</w>")
    pre_tokenizer, decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    tokenizer = trained(model, trainer, 260, pre_tokenizer, decoder)
    tokenizer.add_tokens(["a</w>b", "</w>", "</w></w>", "</w> "])
    return tokenizer


def ctc():
    tokens = ["<pad>", "|", "ab", " .", " n't", "<pad>a", *"abcdehilnorstuw'éä日👍"]
    tokenizer = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="|"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.CTC()
    return tokenizer


def characters():
    tokens = ["<unk>", *sorted(set("".join(SENTENCES)))]
    tokenizer = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.add_tokens(["<tool>"])
    return tokenizer


def letters(chain):
    """A few tokens, one of them empty, for what a chain of decoders does across them."""
    tokens = ["a", "o", "x", "▁", "", "日"]
    tokenizer = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="日"))
    if chain:
        tokenizer.decoder = decoders.Sequence(chain)
    return tokenizer


def nested_sequence_with_a_regular_expression():
    """In front of Fuse a regular expression sees one token at a time."""
    inner = decoders.Sequence([decoders.Replace(Regex("^▁+|o"), "-"), decoders.Metaspace()])
    return fallback_bpe(decoders.Sequence([inner, decoders.ByteFallback(), decoders.Fuse()]), "always")


def regular_expression_over_the_whole_text():
    steps = [decoders.Fuse(), decoders.Replace(Regex("▁(?=.*e$)"), "")]
    return fallback_bpe(decoders.Sequence(steps), "always")


def cleaned_up_over_the_whole_text():
    steps = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.WordPiece()]
    return fallback_bpe(decoders.Sequence(steps), "always")


def word_ends_in_a_sequence():
    tokenizer = word_ends()
    tokenizer.decoder = decoders.Sequence([decoders.BPEDecoder(), decoders.Replace("a", "e")])
    return tokenizer


class Reversed:
    def decode_chain(self, tokens):
        return tokens[::-1]


def decoder_written_in_python():
    tokenizer = characters()
    tokenizer.decoder = decoders.Decoder.custom(Reversed())
    return tokenizer


CHAINS = {
    "none": [],
    "strip": [decoders.Fuse(), decoders.Strip("o", 2, 2)],
    "strip twice": [decoders.Fuse(), decoders.Strip("o", 1, 1), decoders.Strip("x", 1, 2)],
    "byte level and strip": [decoders.ByteLevel(), decoders.Strip("o", 2, 0)],
    "metaspace and strip": [decoders.Metaspace(), decoders.Fuse(), decoders.Strip(" ", 2, 1)],
}
STREAMED = {
    "byte level": byte_level,
    "byte level, prefix space": partial(byte_level, add_prefix_space=True),
    "byte level, added tokens": byte_level_with_added_tokens,
    "llama": llama,
    "gemma": gemma,
    "metaspace first": partial(metaspace_bpe, "first"),
    "metaspace always": partial(metaspace_bpe, "always"),
    "metaspace never": partial(metaspace_bpe, "never"),
    "unigram": unigram,
    "unigram, byte fallback": unigram_with_byte_fallback,
    "word piece": partial(word_piece, cleanup=False),
    "word piece, clean-up": partial(word_piece, cleanup=True),
    "word level": word_level,
    "characters": characters,
    "nested sequence": nested_sequence_with_a_regular_expression,
}
TEXT_AT_END = {
    "replaced in the whole text": replaced_in_the_whole_text,
    "word ends": word_ends,
    "ctc": ctc,
    "regular expression over all": regular_expression_over_the_whole_text,
    "clean-up over all": cleaned_up_over_the_whole_text,
    "word ends in a sequence": word_ends_in_a_sequence,
    "written in python": decoder_written_in_python,
}
MADE = STREAMED | TEXT_AT_END
