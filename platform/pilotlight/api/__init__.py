"""The control plane's face: HTTP on a unix socket behind the router, over the `Control` protocol and nothing else."""
