"""The reference engine: a small OpenAI server over transformers that puts exactness first; it must not import the gateway.

It runs in an environment of its own (`requirements.txt`), started as `python -P -m backends.torch_reference.engine`.
torch and transformers are imported by `assembly.py`, `model.py`, `sampling.py`, `tokenizer.py` and `weights.py` only.
"""

# Names the environment folder `torch-reference-<version>`: raise it whenever requirements.txt changes.
ENGINE_VERSION = "1"
