"""OpenAI Live: full duplex, without turns, responses or truncation."""
