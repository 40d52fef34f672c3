"""From rows to micro-batches: data sets, their order, what of them a run trains on."""
