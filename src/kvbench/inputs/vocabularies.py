"""How many ids each tokenizer has, as data."""

VOCABULARIES = {"gpt2": 50_257, "gpt2-8k": 8_192, "smollm2": 49_152}
