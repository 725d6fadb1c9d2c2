"""The control plane: what is wanted, what is there, and the steps between them. Its IO lives at the edges."""
