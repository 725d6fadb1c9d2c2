"""Where a replica goes, as a pure function of the nodes and what runs on them."""
