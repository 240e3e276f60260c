"""Pure wire formats: bytes in, a call out; a result in, bytes out. No sockets, no models."""
