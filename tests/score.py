# SPDX-License-Identifier: Apache-2.0
"""Log probabilities of tokens by transformers, in float32; runs in the build environment.

python -m tests.score MODEL < {"name": [prompt ids, completion ids]} > {"name": [log probability, ...]}
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM


@torch.no_grad()
def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    scores = {}
    for name, (prompt, completion) in json.load(sys.stdin).items():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])
        scores[name] = chosen[:, 0].tolist()
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    main()
