"""Wire formats, sans-IO: bytes in, values and events out, and back.

Floor 1. Parsers take bytes cut anywhere, are told the time, raise nothing but ProtocolError and its kin, and grow
only with what arrived. Deliberately without sockets, clocks, randomness, threads and decoders.
"""
