"""Audio as bytes: G.711, levels, WAV files, sample rates. Pure, and knows no other package."""
