"""Media as bytes: pictures are sniffed, verified and encoded, audio is encoded."""
