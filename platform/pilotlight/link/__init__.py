"""What router and control plane say to each other: state, not events (platform/README.md, "The link")."""
