"""OpenAI Realtime and the servers that speak its protocol, each in its dialect."""
