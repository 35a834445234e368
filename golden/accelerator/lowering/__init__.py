"""From the network to operations: codes, convs, attention, bands, spills and images."""
