"""Apache Kafka itself, for tests, benchmarks and the demo."""
