"""Predictions that settle a question: each with its numbers, which are computed here, and what they teach."""

from crossent.stories.presets import STORIES, story
from crossent.stories.story import Fact, Story, StoryTable

__all__ = ["STORIES", "Fact", "Story", "StoryTable", "story"]
