"""From an uploaded folder to a bundle and an environment that replicas start from.

What the control plane uses:

- `builder.Builder`: `build` (tar to `core.revision.Bundle`, with progress), `bundle`, `environment_dir`, `bundle_dir`,
  and `sweep`, which runs at start.
- `base.Progress`: one line of a build, for its client.
- `shelf.Shelf`: what lies on the disk, when it was used last, and how it is removed; `control.collector` decides.
- `interpreter.choose_interpreter`, `interpreter.ensure_reachable`: which Python environments are made from.
- `layer.ensure_layer`: the runtime that lies beside every environment.
- `reference.parse_reference`, `reference.reference`: `bundle/NAME@sha256:DIGEST`.

On disk, everything by one rename (also when it goes), made readable to the functions' user and writable by nobody but
the platform:

    DATA/bundles/DIGEST/{manifest.json, function/...}
    DATA/environments/DIGEST/{manifest.json, requirements.lock, prime.py (some), venv/}
    DATA/runtime/DIGEST/{pilotlight_runtime, uvloop, httptools}
    DATA/cache/{uv, locks, trials, tools}
    DATA/staging/*                          in the making; removed when a build ends, and at the next start
"""
