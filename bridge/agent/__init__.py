"""The built-in agent: a Realtime server of our own, at the far end of a real WebSocket."""
