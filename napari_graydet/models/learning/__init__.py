"""What every training shares: the loop, checkpoints, budgets, several processes."""
