"""RTMP and Enhanced RTMP, server and client side, as state machines without I/O.

url and handshake open a conversation, chunk and message carry it, command and state run it; server and client are
what the doors use. Specifications: Adobe RTMP 1.0 (2012), Adobe AMF 0, Veovera Enhanced RTMP v2. Deliberately
without RTMPE, RTMPT, shared objects and remote procedures.
"""
