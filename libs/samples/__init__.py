"""Sample data that comes with Woodshed, free for any use (CC0): for the demonstration and the tests."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent

CONVERSATIONS = FOLDER / "conversations.jsonl"
"""124 conversations with a warm financial planner, one a line, in OpenAI's ``messages`` form."""

PREFERENCES = FOLDER / "preferences.jsonl"
"""72 questions with a warm and specific reply against a cold or vague one, in OpenAI's preference form."""

LESSONS = FOLDER / "lessons"
"""40 guitar lessons by 5 instructors, one WhisperX-shaped JSON file each, with word timings."""
