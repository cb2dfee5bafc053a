-- What speaks for a model in chats, as it was compared: llama.cpp, vllm or transformers, which spoke for all before.

ALTER TABLE evaluator.evaluation ADD COLUMN engine text NOT NULL DEFAULT 'transformers';
