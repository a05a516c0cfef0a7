# SPDX-License-Identifier: Apache-2.0
"""Differences of 1.3.0rc27 to 1.4.0rc1 from the fact sheet of 1.2.1, from their documentation."""


def change(classes: dict) -> None:
    """Change the sheet's facts in place."""
    graph = classes["CudaGraphConfig"]
    for mode in ("decode", "encode"):
        fact = {"type": f"Literal['{mode}']", "default": mode}
        classes[f"{mode.title()}CudaGraphConfig"] = {**graph, "mode": fact}
    torch = classes["TorchLlmArgs(BaseLlmArgs)"]
    torch["cuda_graph_config"] = {
        "type": "DecodeCudaGraphConfig|EncodeCudaGraphConfig|None",
        "default": "DecodeCudaGraphConfig()",
    }
    # The TRTLLM sampler is gone; the names of the one that is left are taken, and ignored.
    torch["sampler_type"] = {"type": "Literal['auto','TorchSampler']", "default": "auto"}
    draft = classes["DraftTargetDecodingConfig"]
    draft["speculative_model"] = draft.pop("speculative_model_dir")
    classes["SamplingParams"]["length_penalty"] = {"type": "float|None", "default": 0.0}
