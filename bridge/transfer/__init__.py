"""Handing a caller to somebody else: by the PBX, by a second call, or because the PBX asks for it."""
