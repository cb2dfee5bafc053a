"""``woodshed move-in``: what another server of OpenAI's fine-tuning wire has, made again here, once."""
