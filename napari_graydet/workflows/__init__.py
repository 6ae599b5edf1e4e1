"""One file per job."""
