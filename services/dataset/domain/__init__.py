"""What the dataset service decides, without touching anything: formats, examples, splits, problems."""
