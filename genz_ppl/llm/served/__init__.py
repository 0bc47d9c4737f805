"""Foundation models behind an OpenAI-compatible server: calls, caps, prompts and replies."""
