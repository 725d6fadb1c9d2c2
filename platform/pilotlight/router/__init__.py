"""The data path: HTTP from callers to replicas. Its own program; needs only the link, settings, core and the runtime's
wire module. A straight line: server, table, admission, balancer, upstream; meter beside it."""
