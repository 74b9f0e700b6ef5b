"""The worker's side: everything here runs in the process that holds the model, and may import mlx."""
