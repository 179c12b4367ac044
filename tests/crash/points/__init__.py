"""The crash points' matrix: who dies where, and what must hold of it afterwards."""
