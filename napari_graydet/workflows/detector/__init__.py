"""Detection in a process of its own: what is sent, who sends it, who answers."""
