"""Where records come from and go to, behind one protocol: Kafka by two clients, SQLite, files."""
