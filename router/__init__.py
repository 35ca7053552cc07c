"""The public face of a cluster: plans each request, sends it to the nodes, and coordinates what spans shards."""
