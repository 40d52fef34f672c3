"""AnyFlow for distill: flow maps between any two times, then distribution matching on their own samples."""
