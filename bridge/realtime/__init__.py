"""The model's side of a call: one Realtime session over one WebSocket."""
