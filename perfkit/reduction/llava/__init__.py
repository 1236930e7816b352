"""Reducers inside a Hugging Face LLaVA-1.5: the tower as far as they need it, and prompts with fewer tokens."""
