"""Media of a call: RTP in and out, what was lost, what was heard, and the clock of both."""
