"""A source of metadata for trying OpenMetadata's ingestion without a database."""
