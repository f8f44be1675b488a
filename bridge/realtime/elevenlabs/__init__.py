"""ElevenLabs agents."""
