"""What the window shows and what a person means: session and intents. No Qt, no napari."""
