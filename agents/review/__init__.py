"""The review page: what Graft asks people and has told them, kept in one SQLite file, and the way back for answers."""
