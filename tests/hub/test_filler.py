"""Filler: keyframes that alternate, loops that go round, silence without seams."""
