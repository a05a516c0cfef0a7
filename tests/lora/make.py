# SPDX-License-Identifier: Apache-2.0
"""Make adapters of models/demo with PEFT, and what transformers generates with each: expected.json.

Run by the build environment's Python: python tests/lora/make.py FOLDER
"""

import json
import sys
from pathlib import Path

import peft
import torch
import transformers

MODEL = "models/demo"
PROMPT = [0, 300, 400, 500, 600]
TOKENS = 20
ALL = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
# Large enough to change texts. Each has another way to say what its scaling is.
ADAPTERS = {
    "7": {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "size": 0.12},
    "blue": {"r": 2, "lora_alpha": 4, "target_modules": ["fc1", "fc2"], "size": 0.12},
    "green": {"r": 8, "lora_alpha": 8, "target_modules": ALL, "use_rslora": True, "size": 0.05},
    "red": {"r": 4, "lora_alpha": 8, "target_modules": ALL, "size": 0.06, "dtype": torch.bfloat16},
}
PATTERNED = {  # not for every engine
    **{"r": 4, "lora_alpha": 8, "target_modules": ALL, "size": 0.06},
    **{"rank_pattern": {"fc1": 3}, "alpha_pattern": {r"layers\.[01]\.fc2": 16}},
}


def base_model():
    return transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def make(folder, size, dtype=torch.float32, **config):
    model = peft.get_peft_model(base_model(), peft.LoraConfig(task_type="CAUSAL_LM", **config))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.empty_like(parameter).normal_(0, size).to(dtype)
    model.save_pretrained(folder)


@torch.no_grad()
def generate(model):
    ids, log_probs = [*PROMPT], []
    for _ in range(TOKENS):
        scores = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], -1)
        ids.append(int(scores.argmax()))
        log_probs.append(float(scores.max()))
    return {"ids": ids[len(PROMPT) :], "log_probs": log_probs}


def main(folder):
    expected = {"": generate(base_model())}
    places = {name: folder / "adapters" / name for name in ADAPTERS} | {"odd": folder / "patterned" / "odd"}
    for number, (name, config) in enumerate([*ADAPTERS.items(), ("odd", PATTERNED)]):
        torch.manual_seed(number)
        make(places[name], **config)
        expected[name] = generate(peft.PeftModel.from_pretrained(base_model(), places[name]).eval())
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
