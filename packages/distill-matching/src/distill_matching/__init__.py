"""What methods that match a teacher's distribution share: few steps, scores, critics, discriminators. It is no method and no plugin."""
