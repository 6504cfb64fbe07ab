"""The shell: Kafka, files, HTTP, clocks. Knows no formula; everything that decides is in `engine`."""
