"""Google Gemini Live."""
