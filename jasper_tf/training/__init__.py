"""Loss, optimiser, schedule, run folders and the training run itself."""
