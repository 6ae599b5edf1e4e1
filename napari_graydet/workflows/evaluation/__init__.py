"""Methods behind one protocol, their scores, and the report."""
