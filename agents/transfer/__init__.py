"""What was lent and what it was worth, for people: records from files or Kafka, and a page of the report."""
