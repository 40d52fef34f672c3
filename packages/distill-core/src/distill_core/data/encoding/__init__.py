"""From files to rows: videos and captions through a model's encoders into parquet."""
